(function(){
var css={% set css %}{% include "look_up.css" %}{% endset %}{{ css|tojson }},
POSITIVE="{{ signs[0] }}",NEGATIVE="{{ signs[1] }}",LONGEST={{ longest }},
LETTER=7.83,TOP=92,TEXT=TOP+17,TICK=TEXT+15,ZERO=TICK+32,HIGH=26,
KINDS={active:true,inactive:false},canvas=document.createElement("canvas").getContext("2d");
function add(parent,name,attributes,text){
var drawn=/^(svg|g|path|rect|text|line)$/.test(name),
made=drawn?document.createElementNS("http://www.w3.org/2000/svg",name):document.createElement(name);
Object.keys(attributes||{}).forEach(function(key){made.setAttribute(key,attributes[key])});
if(text!==undefined)made.textContent=text;
parent.appendChild(made);return made;}
function readable(token){
var seen=token.replace(/\r/g,"").replace(/\n/g,"⏎").replace(/\t/g,"⇥");
return {" ":"␣","":"∅"}[seen]||seen;}
function word(token){
var seen=token.trim()||token.replace(/ /g,"␣"),letters=Array.from(seen);
return letters.length>18?letters.slice(0,17).join("")+"…":seen;}
function width(text){
canvas.font="13px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace";
return canvas.measureText(text).width;}
function short(value){return String(Number(value.toPrecision(2)));}
function signed(value){return (value>0?"+":"")+value;}
function percent(p){return p<.005?"<1 %":Math.floor(100*p+.5)+" %";}
function places(prompt){
var all=prompt.tokens.map(function(_,at){return at}),kept=all.slice(-LONGEST);
if(kept[0]>0)kept[0]=0;
return kept;}
function largest(prompts,what){
return Math.max.apply(null,[.001].concat(prompts.map(function(one){
return Math.max.apply(null,places(one).map(function(at){return Math.abs(one[what][at])}))})));}
function quoted(parent,token,rest){
var whole=add(parent,"span",{"class":token.length>18?"":"lu-quoted"},'"');
add(whole,"bdi",{},readable(token));whole.append('"');parent.append(rest);}
function line(side,prompt,kind,tops,live){
var svg=add(side,"svg",{role:"group","aria-label":"The tokens of the "+kind+
" prompt; arrow keys move among them"}),x=4,kept=places(prompt),spots=[],spans=[],
below=Math.max.apply(null,[0].concat(kept.map(function(at){return -prompt.activation[at]})));
kept.forEach(function(at){
var token=readable(prompt.tokens[at]),text=word(token),
lead=token.trim()?(token.length-token.trimStart().length)*LETTER:0,size=width(text),
cell=Math.max(lead+size,12)+(at===0?3:0);
spans.push({x:x,cell:cell,from:x+lead,middle:x+lead+size/2,text:text});x+=cell;});
var last=spans[spans.length-1],best=0;
kept.forEach(function(at,i){if(Math.abs(prompt.brought[at])>Math.abs(prompt.brought[kept[best]]))best=i;});
var arcs=kept.map(function(at,i){
var from=spans[i].middle,to=last.middle,far=Math.abs(to-from),
high=18+(TOP-32)*Math.sqrt(far/Math.max(to,1)),way=i===kept.length-1?
"M"+(from-4)+" "+TOP+"C"+(from-16)+" "+(TOP-26)+" "+(from+16)+" "+(TOP-26)+" "+(from+4)+" "+TOP:
"M"+from+" "+TOP+"C"+from+" "+(TOP-high*4/3)+" "+to+" "+(TOP-high*4/3)+" "+to+" "+TOP;
spans[i].top=TOP-(i===kept.length-1?20:high)-prompt.attention[at]*5-4;
return add(svg,"path",{d:way,fill:"none",stroke:prompt.brought[at]<0?NEGATIVE:POSITIVE,
"stroke-width":(.6+10*prompt.attention[at]).toFixed(1),
"stroke-opacity":(.1+.8*Math.abs(prompt.brought[at])/tops.brought).toFixed(2)});});
add(svg,"text",{"class":"lu-amount","text-anchor":"middle",x:Math.max((spans[best].middle+last.middle)/2,16),
y:Math.max(spans[best].top,10)},signed(short(prompt.brought[kept[best]]))).style.fill=
prompt.brought[kept[best]]<0?NEGATIVE:POSITIVE;
function tell(i){
var at=kept[i],token=readable(prompt.tokens[at]);
spots.forEach(function(spot,j){spot.setAttribute("tabindex",i===j?"0":"-1");
spot.classList.toggle("lu-at",i===j);arcs[j].classList.toggle("lu-at",i===j)});
svg.classList.add("lu-busy");live.textContent="";
live.append(i+": ");quoted(live,token," gets attention "+prompt.attention[at]+" and brings "+
signed(prompt.brought[at])+"; the neuron's activation there is "+prompt.activation[at]+".");}
function rest(){svg.classList.remove("lu-busy");}
kept.forEach(function(at,i){
var span=spans[i],high=HIGH*prompt.activation[at]/tops.activation,
spot=add(svg,"g",{tabindex:i===kept.length-1?"0":"-1",role:"img","aria-label":"token "+i+", "+readable(prompt.tokens[at])});
add(spot,"rect",{"class":"lu-spot",x:span.x,y:TOP,width:span.cell,height:ZERO-TOP+2,rx:2});
add(spot,"text",{x:span.from,y:TEXT},span.text);
add(spot,"text",{"class":"lu-tick","text-anchor":"middle",x:span.middle,y:TICK},i);
add(spot,"rect",{"class":"lu-bar",x:span.middle-4,width:8,y:high<0?ZERO:ZERO-high,height:Math.abs(high)});
spot.addEventListener("mouseenter",function(){tell(i)});spot.addEventListener("mouseleave",rest);
spot.addEventListener("focus",function(){tell(i)});spot.addEventListener("blur",rest);
spots.push(spot);});
svg.addEventListener("keydown",function(event){
var now=spots.indexOf(document.activeElement),to={ArrowLeft:now-1,ArrowRight:now+1,Home:0,End:spots.length-1}[event.key];
if(now>=0&&spots[to]){event.preventDefault();spots[to].focus();}});
add(svg,"line",{x1:4,x2:x,y1:ZERO+.5,y2:ZERO+.5,stroke:"#999"});
add(svg,"text",{"class":"lu-fired",x:x+6,y:ZERO},short(prompt.activation[kept[kept.length-1]]));
x+=8;
var mine=word(readable(prompt.token)),told=prompt.next===null||prompt.next===prompt.token,size=width(mine);
add(svg,"rect",{"class":"lu-mark",x:x-2,y:TOP+3,width:size+4,height:19,rx:2});
add(svg,"text",{"class":told?"":"lu-not",x:x,y:TEXT},mine);x+=size+8;
if(!told){var then="→ "+word(readable(prompt.next));
add(svg,"text",{"class":"lu-next",x:x,y:TEXT},then);x+=width(then)+4;}
x=Math.max(x,last.x+last.cell+50);
var height=ZERO+4+HIGH*below/tops.activation;
svg.setAttribute("width",x);svg.setAttribute("height",height);svg.setAttribute("viewBox","0 0 "+x+" "+height);
return x;}
function facts(side,prompt){
var kept=places(prompt),told=add(side,"p",{"class":"lu-fact lu-told"}),brings=add(side,"p",{"class":"lu-fact"}),
last=kept.length-1,fires;
quoted(told,prompt.token,": "+percent(prompt.p[0])+" with the head, "+percent(prompt.p[1])+" without it");
if(prompt.next!==null&&prompt.next!==prompt.token){told.append("; ");quoted(told,prompt.next," followed");}
brings.append("brings: ");
kept.map(function(at,i){return i}).sort(function(i,j){
return Math.abs(prompt.brought[kept[j]])-Math.abs(prompt.brought[kept[i]])||i-j;}).slice(0,3).filter(function(i,n,all){
return Math.abs(prompt.brought[kept[i]])>=.05*Math.abs(prompt.brought[kept[all[0]]]);}).forEach(function(i,n){
brings.append((n?"; ":"")+signed(short(prompt.brought[kept[i]]))+" from ");
quoted(brings,prompt.tokens[kept[i]]," ("+i+"), attention "+short(prompt.attention[kept[i]]));});
fires=add(side,"p",{"class":"lu-fact"},"activation: "+short(prompt.activation[kept[last]])+" at ");
quoted(fires,prompt.tokens[kept[last]]," ("+last+")");}
function likely(side,prompt){
var lists=add(side,"div",{"class":"lu-lists"});
["with","without"].forEach(function(when,i){
var list=add(lists,"div",{"class":"lu-list"}),own=prompt[when].some(function(one){return one[0]===prompt.token});
add(list,"b",{},when+" the head");
var items=add(list,"ol"),rows=own?prompt[when]:prompt[when].concat([[prompt.token,prompt.p[i]]]);
rows.forEach(function(one,n){
var item=add(items,"li",{"class":(one[0]===prompt.token?"lu-own":"")+(n>=prompt[when].length?" lu-more":"")});
item.style.setProperty("--p",100*one[1]+"%");
add(item,"bdi",{},readable(one[0]));add(item,"span",{},percent(one[1]));});});}
function panel(sides,kind,prompts,tops){
var side=add(sides,"div",{role:"group","class":"lu-side lu-"+kind,"aria-label":kind+" prompts"}),
head=add(side,"div",{"class":"lu-head"}),chosen=0;
add(head,"b",{},kind);
if(!prompts.length){add(side,"p",{"class":"lu-fact"},"There is no "+kind+" prompt.");return;}
if(prompts.length>1){
var select=add(head,"select",{"aria-label":"Choose the "+kind+" prompt"});
prompts.forEach(function(one,i){add(select,"option",{value:i},(i+1)+" of "+prompts.length+": …"+
Array.from(places(one).map(function(at){return readable(one.tokens[at])}).join("")).slice(-24).join("")+" ▸"+readable(one.token))});
select.addEventListener("change",function(){chosen=Number(select.value);show();});}
var source=add(head,"span",{"class":"lu-source"}),body=add(side,"div",{"class":"lu-body"});
function show(){
var prompt=prompts[chosen],all=prompt.tokens.length,n=places(prompt).length;
source.textContent=prompt.source;body.textContent="";
if(all>n)source.textContent+=" (the last "+n+" of "+all+" tokens)";
var drawn=add(body,"div",{"class":"lu-line"}),live=add(side,"p",{"class":"lu-live","aria-live":"polite"},
"Point at a token, or move there with Tab and the arrow keys, to read its numbers.");
body.appendChild(live);
var size=line(drawn,prompt,kind,tops,live),below=add(body,"div",{"class":"lu-below"});
if(!side.style.flexBasis)side.style.flexBasis=Math.round(Math.max(size,320))+"px";
facts(add(below,"div"),prompt);likely(below,prompt);}
show();}
function draw(mount,data){
if(!document.getElementById("lu-css"))add(document.head,"style",{id:"lu-css"},css);
mount.textContent="";
var root=add(mount,"div",{"class":"lu"}),sides=document.createElement("div"),legend,
tops={brought:largest(data.prompts,"brought"),activation:largest(data.prompts,"activation")};
add(root,"b",{"class":"lu-pair"},data.pair);
sides.className="lu-sides";root.appendChild(sides);
Object.keys(KINDS).forEach(function(kind){panel(sides,kind,
data.prompts.filter(function(one){return one.active===KINDS[kind]}),tops);});
legend=add(root,"p",{"class":"lu-legend"},"Arcs go from the last token to what the head reads: width is attention, colour what it brings the neuron,");
add(legend,"i").style.background=POSITIVE;legend.append("drives it or");
add(legend,"i").style.background=NEGATIVE;legend.append("holds it back, pale where little. Bars: the neuron's activation.");}
window.LookUps={draw:draw};
})();
