/* The gallery's filters, addresses and drawings. The address behind the # names the opened card, and
behind a ? the filters: #L25.N32-L10.H2?group=selected. A card's data and the scripts that draw are
loaded by script tags when a card is first opened, since a page from disk cannot fetch. */
(function () {
  "use strict";
  var gallery = document.querySelector(".gallery");
  if (!gallery) return;
  var root = gallery.dataset.root, list = gallery.querySelector(".cards");
  var cards = Array.prototype.slice.call(gallery.querySelectorAll("details.look-up"));
  var form = gallery.querySelector("form"), count = gallery.querySelector(".count");
  var loaded = {}, words = new Map(), numbered = 0, settling = false;

  function load(file) {
    return loaded[file] = loaded[file] || new Promise(function (done, fail) {
      var script = document.createElement("script");
      script.src = root + file;
      script.onload = done;
      script.onerror = function () { fail(new Error(file)); };
      document.head.appendChild(script);
    });
  }

  function address() {
    var whole = location.hash.slice(1), cut = whole.indexOf("?");
    return {
      card: decodeURIComponent(cut < 0 ? whole : whole.slice(0, cut)),
      filters: new URLSearchParams(cut < 0 ? "" : whole.slice(cut + 1))
    };
  }

  function chosen() {
    var filters = new URLSearchParams();
    if (form) new FormData(form).forEach(function (value, name) {
      if (value.trim()) filters.set(name, value.trim());
    });
    return filters;
  }

  function write(card) {
    var filters = chosen().toString(), whole = card + (filters ? "?" + filters : "");
    history.replaceState(null, "", whole ? "#" + whole : location.pathname + location.search);
  }

  function opened() {
    var open = cards.filter(function (card) { return card.open; });
    return open.length ? open[open.length - 1].id : "";
  }

  function said(card) {
    if (!words.has(card)) words.set(card, card.textContent.toLowerCase().replace(/\s+/g, " "));
    return words.get(card);
  }

  function fits(card, filters) {
    var own = card.dataset;
    return Array.from(filters).every(function (entry) {
      var name = entry[0], value = entry[1];
      if (name === "order") return true;
      if (name === "q") return value.toLowerCase().split(/\s+/).every(function (word) {
        return said(card).indexOf(word) >= 0;
      });
      if (name === "effect" || name === "score")
        return own[name] !== "" && parseFloat(own[name]) >= parseFloat(value);
      return own[name] === value;
    });
  }

  function arrange(order) {
    var by = order || "effect", groups = !order;
    function size(card) { return card.dataset[by] === "" ? -Infinity : parseFloat(card.dataset[by]); }
    var sorted = cards.slice().sort(function (a, b) {
      if (order === "token") return a.dataset.token.trim().localeCompare(b.dataset.token.trim(), "en");
      var first = groups ? (b.dataset.group === "selected") - (a.dataset.group === "selected") : 0;
      return first || (size(b) === size(a) ? 0 : size(b) - size(a));
    });
    if (sorted.some(function (card, i) { return list.children[i] !== card; })) list.append.apply(list, sorted);
  }

  function filter() {
    if (!form) return;
    var filters = chosen(), shown = 0;
    cards.forEach(function (card) {
      card.hidden = !fits(card, filters);
      shown += !card.hidden;
    });
    arrange(filters.get("order"));
    var some = shown + (shown === 1 ? " look-up" : " look-ups");
    count.textContent = shown === cards.length ? some : some + " of " + cards.length;
  }

  /* Bring the page to what its address says. */
  function settle() {
    var at = address(), card = at.card && document.getElementById(at.card);
    settling = true;
    if (form) {
      form.reset();
      at.filters.forEach(function (value, name) { if (form.elements[name]) form.elements[name].value = value; });
      filter();
    }
    if (card && cards.indexOf(card) >= 0) {
      card.hidden = false;
      card.open = true;
      card.scrollIntoView();
    }
    setTimeout(function () { settling = false; }, 0);
  }

  function readable(token) {
    var seen = token.replace(/\r/g, "").replace(/\n/g, "⏎").replace(/\t/g, "⇥");
    return seen === " " ? "␣" : seen || "∅";
  }

  function pattern(card, given, prompt) {
    var figure = document.createElement("figure"), words = document.createElement("figcaption");
    var mount = document.createElement("div");
    words.textContent = (prompt.active ? "Active" : "Not active") + ": the strongest prompt";
    mount.className = "mount";
    mount.id = "gallery-pattern-" + numbered++;
    mount.tabIndex = 0;
    mount.setAttribute("role", "group");
    mount.setAttribute("aria-label", "Attention of " + given.head + " on " + (prompt.active ? "an active" : "an inactive") + " prompt");
    figure.append(words, mount);
    card.querySelector(".mounts").appendChild(figure);
    var tokens = prompt.tokens.map(readable);
    tokens[tokens.length - 1] += "▸";
    CircuitsVis.render(mount.id, CircuitsVis.AttentionPattern, {
      attention: prompt.pattern, tokens: tokens, zoomed: true, maskUpperTri: true, upperTriColor: "#eeeeee",
      maxValue: 1, minValue: -1, positiveColor: "#0068a8", negativeColor: "#c2490a"
    });
  }

  function draw(card) {
    if (card.dataset.drawn) return;
    card.dataset.drawn = "soon";
    load("gallery/cards/" + encodeURIComponent(card.id) + ".js").then(function () {
      return load("_static/" + gallery.dataset.bundle);
    }).then(function () {
      var given = window.lookUpCards[card.id];
      card.querySelector(".view").hidden = false;
      window.LookUps.draw(card.querySelector(".view"), { pair: given.pair, prompts: given.prompts });
      card.querySelector(".in-words").open = false;
      card.querySelector(".patterns").hidden = false;
      [true, false].forEach(function (active) {
        var first = given.prompts.find(function (prompt) { return prompt.active === active; });
        if (first) pattern(card, given, first);
      });
      card.dataset.drawn = "yes";
    }).catch(function (why) { card.dataset.drawn = "not: " + why.message; });
  }

  gallery.addEventListener("toggle", function (event) {
    if (cards.indexOf(event.target) < 0) return;
    if (event.target.open) draw(event.target);
    if (!settling) write(event.target.open ? event.target.id : opened());
  }, true);
  if (form) {
    form.addEventListener("input", function () { filter(); write(opened()); });
    form.addEventListener("submit", function (event) { event.preventDefault(); });
    form.addEventListener("reset", function () { setTimeout(function () { filter(); write(opened()); }, 0); });
  }
  window.addEventListener("hashchange", settle);
  settle();
})();
