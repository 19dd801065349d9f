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
if(given.component==="LookUp")LookUps.draw(mount,given.props);
else CircuitsVis.render(mount.id,CircuitsVis[given.component],given.props);}
function ready(){
if(window.CircuitsVis)return Promise.resolve();
if(window.lookupsBundle)return window.lookupsBundle;
var root=document.documentElement.dataset.content_root,inlined=document.querySelector(".cv-bundle"),
script=document.createElement("script");
if(root!==undefined){window.lookupsBundle=new Promise(function(done,fail){
script.onload=function(){done()};script.onerror=function(){fail(new Error("not found"))};
script.src=root+"_static/{{ bundle }}";document.head.appendChild(script);});return window.lookupsBundle;}
if(inlined){script.text=JSON.parse(inlined.textContent)+";window.CircuitsVis=CircuitsVis;";
document.head.appendChild(script);return Promise.resolve();}
return Promise.reject(new Error("not here"));}
function named(view){new MutationObserver(function(){
view.querySelectorAll("canvas[role=img]:not([aria-label])").forEach(function(canvas){
canvas.setAttribute("aria-label","An attention pattern; the text with this view tells it in words");});
}).observe(view,{childList:true,subtree:true});}
function look(){
var views=document.querySelectorAll('.cv-view[data-name="'+name+'"]:not(.cv-drawn):not(.cv-late)');
if(!views.length){if(left-->0)setTimeout(look,100);return;}
views.forEach(function(view){view.classList.add("cv-late");
ready().then(function(){named(view);draw(view)},function(){stuck(view.querySelector(".cv-box"),
"The interactive drawing is not in this copy of the notebook; run this cell to see it.")});});}
look();
})("{{ name }}");
