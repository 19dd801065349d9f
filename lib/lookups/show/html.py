"""The HTML of a view: circuitsvis in a page, with nothing fetched from outside.

Takes the place of the circuitsvis package's own renderer. The same view gives the same bytes, and
no text from data can become markup or end a script.
"""

import html
import json
import os
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lookups.errors import LookupsError

BUNDLE = "circuitsvis.iife.js"
"""The name of the one script that all views of a book's page share, in the book's `_static`."""

_STYLE = """
.cv-view{margin:1rem 0;max-width:100%;min-width:0}
.cv-view .cv-look{margin:.25rem 0 .5rem;font-size:.95em}
.cv-view .cv-box{background:#fff;color:#222;color-scheme:light;border:1px solid #c8c8c8;
border-radius:6px;padding:.6rem;overflow-x:auto;max-width:100%;box-sizing:border-box}
.cv-view .cv-text{margin:0;padding:0;border:0;background:none;color:#222;
white-space:pre-wrap;font-size:.8rem;box-shadow:none}
.cv-view h3{font-size:1rem;margin:.25rem 0;color:#222}
.cv-view h4{font-size:.72rem;line-height:1;margin:0;font-weight:600}
.cv-view h2{font-size:.85rem;line-height:1;margin:0;font-weight:600;border:0}
.cv-heads .cv-mount{min-width:26rem}
.cv-heads .cv-mount>div>div:first-of-type>div{flex:0 0 7rem!important;max-width:7rem!important;
width:7rem!important}
.cv-tokens .cv-mount{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:.85rem;
line-height:1.9;white-space:pre-wrap}
.cv-tokens .colored-tokens{padding-bottom:0!important}
.cv-tokens .cv-mount>div{padding-bottom:0!important}
.cv-tokens .cv-mount>div>div:has(input),.cv-tokens .cv-mount>div>br{display:none}
.cv-tokens .cv-mount [style*="box-shadow"]{z-index:20;line-height:1.3;white-space:pre}
.cv-view td{padding:.1rem .4rem}
.cv-view table{margin:0;color:#222;background:#fff;font-size:.8rem}
"""

# Mounts every view of this name that is on the page and not yet drawn. A notebook may attach the
# output after its scripts ran, so it looks again for a while. Where it is stuck, the text stays.
_MOUNT = """
(function(name){
var left=100;
function stuck(box,why){var p=document.createElement("p");p.className="cv-look cv-stuck";
p.textContent=why;box.parentNode.insertBefore(p,box);}
function draw(view){
var mount=view.querySelector(".cv-mount"),
given=JSON.parse(view.querySelector(".cv-data").textContent);
if(document.querySelectorAll("#"+mount.id).length>1)
mount.id+="-"+document.querySelectorAll(".cv-drawn").length;
view.classList.add("cv-drawn");mount.textContent="";
CircuitsVis.render(mount.id,CircuitsVis[given.component],given.props);}
function ready(){
if(window.CircuitsVis)return Promise.resolve();
if(window.lookupsBundle)return window.lookupsBundle;
var root=document.documentElement.dataset.content_root,inlined=document.querySelector(".cv-bundle"),
script=document.createElement("script");
if(root!==undefined){window.lookupsBundle=new Promise(function(done,fail){
script.onload=function(){done()};script.onerror=function(){fail(new Error("not found"))};
script.src=root+"_static/BUNDLE";document.head.appendChild(script);});return window.lookupsBundle;}
if(inlined){script.text=JSON.parse(inlined.textContent)+";window.CircuitsVis=CircuitsVis;";
document.head.appendChild(script);return Promise.resolve();}
return Promise.reject(new Error("not here"));}
function look(){
var views=document.querySelectorAll('.cv-view[data-name="'+name+'"]:not(.cv-drawn):not(.cv-late)');
if(!views.length){if(left-->0)setTimeout(look,100);return;}
views.forEach(function(view){view.classList.add("cv-late");
ready().then(function(){draw(view)},function(){stuck(view.querySelector(".cv-box"),
"The interactive drawing is not in this copy of the notebook; run this cell to see it.")});});}
look();
})("NAME");
"""


def view_html(
    name: str, component: str, props: Mapping[str, Any], *, text: str, look_for: str = ""
) -> str:
    """Return the HTML of a view: style, text summary, data, and the script that draws it.

    A page of the book loads the drawing script once from `_static`. In a live notebook the first
    view of the session carries it, unless LOOKUPS_VIEWS is `linked`, as it is for the book.
    """
    kind = "heads" if component == "AttentionHeads" else "tokens"
    data = _script_json({"component": component, "props": dict(props)})
    look = f'<p class="cv-look">{html.escape(look_for)}</p>' if look_for else ""
    mount = _MOUNT.strip().replace("BUNDLE", BUNDLE).replace("NAME", name)
    return (
        f'<div class="cv-view cv-{kind} tex2jax_ignore mathjax_ignore" data-name="{name}">\n'
        f"<style>{_STYLE.strip()}</style>\n{look}"
        "<noscript><p>The drawing needs JavaScript; the text below says the same in words.</p>"
        '</noscript>\n<div class="cv-box" tabindex="0" role="group" '
        f'aria-label="{html.escape(look_for or name)}">'
        f'<div class="cv-mount" id="cv-{name}"><pre class="cv-text">{html.escape(text)}'
        f'</pre></div></div>\n<script type="application/json" class="cv-data">{data}</script>\n'
        f"{_carried(name)}<script>{mount}</script>\n</div><!-- /cv-view -->"
    )


def without_bundle(view: str) -> str:
    """Return a view's HTML without the drawing script that a live notebook put into it."""
    return _CARRIED.sub("", view)


def bundle_path() -> Path:
    """Return where the installed circuitsvis keeps its browser bundle."""
    found = find_spec("circuitsvis")
    path = Path(found.origin or "").parent / "dist/cdn/iife.js" if found else Path()
    if not path.is_file():
        raise LookupsError(
            "circuitsvis or its browser bundle (dist/cdn/iife.js) is missing; install the "
            "project's requirements again: pip install -r requirements.lock"
        )
    return path


_CARRIED = re.compile(r'<script type="application/json" class="cv-bundle">[^<]*</script>\n')

_carriers: list[str] = []
"""The view that brought the bundle into this session: drawn again, it brings it again."""


def _carried(name: str) -> str:
    if os.environ.get("LOOKUPS_VIEWS") == "linked" or name not in (_carriers or [name]):
        return ""
    _carriers[:] = [name]
    source = bundle_path().read_text("utf-8").split("//# sourceMappingURL")[0]
    return f'<script type="application/json" class="cv-bundle">{_script_json(source)}</script>\n'


def _script_json(value: object) -> str:
    """Return JSON that can stand in a script element: no `<`, so no `</script>` and no `<!--`."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def inert(token: str) -> str:
    """Return text that stays text where circuitsvis writes it as HTML.

    A zero-width space stands after every < and &: by the HTML standard neither then opens a tag or
    an entity, and tooltips, which take plain text, look the same.
    """
    return token.replace("<", "<\u200b").replace("&", "&\u200b")


def slug(name: str) -> str:
    """Return a name in letters, digits and dashes, fit for an HTML id."""
    letters = "".join(c if c.isalnum() and c.isascii() else "-" for c in name.lower()).strip("-")
    if not letters:
        raise LookupsError(f"a view's name needs letters or digits, not {name!r}")
    return letters
