"""The templates of the real wiki, in our own words: the imported excerpt of an encyclopedia uses these names but brings none of them.

They nest three deep (`Cite web` → `Citation/core` → `Citation/date`; `Infobox …` → `Infobox` → `Infobox/row`), use parser functions, and
one is a redirect (`Dmoz`). `MISSING` is left out on purpose, so that a test can create what many pages wait for.
"""

MISSING = "Template:Cite news"
FILE_USED = "File:Sister logo.png"  # embedded by three templates, uploaded by nobody

_HATNOTE = "<div class=\"hatnote\">''{{{1|}}}''</div>"

TEMPLATES: dict[str, str] = {
    "Citation/date": "{{#if:{{{date|}}}| ({{{date}}})|{{#if:{{{year|}}}| ({{{year}}})}}}}",
    "Citation/author": "{{#if:{{{last|}}}|{{{last}}}{{#if:{{{first|}}}|, {{{first}}}}}.&#32;|{{#if:{{{author|}}}|{{{author}}}.&#32;}}}}",
    "Citation/core": (
        '<cite class="{{{kind|work}}}">{{Citation/author|last={{{last|}}}|first={{{first|}}}|author={{{author|}}}}}'
        "{{#if:{{{url|}}}|[{{{url}}} {{{title|untitled}}}]|''{{{title|untitled}}}''}}"
        "{{#if:{{{work|}}}|, in {{{work}}}}}{{#if:{{{publisher|}}}|, {{{publisher}}}}}"
        "{{Citation/date|date={{{date|}}}|year={{{year|}}}}}</cite>"
    ),
    "Cite web": (
        "{{Citation/core|kind=web|url={{{url|}}}|title={{{title|}}}|last={{{last|{{{last1|}}}}}}|first={{{first|{{{first1|}}}}}}"
        "|author={{{author|}}}|work={{{website|{{{work|}}}}}}|publisher={{{publisher|}}}|date={{{date|}}}|year={{{year|}}}}}"
        "{{#if:{{{accessdate|}}}|, read {{{accessdate}}}}}"
    ),
    "Cite book": (
        "{{Citation/core|kind=book|url={{{url|}}}|title={{{title|}}}|last={{{last|{{{last1|}}}}}}|first={{{first|{{{first1|}}}}}}"
        "|author={{{author|}}}|publisher={{{publisher|}}}|date={{{date|}}}|year={{{year|}}}}}{{#if:{{{isbn|}}}|, ISBN {{{isbn}}}}}"
    ),
    "Cite journal": (
        "{{Citation/core|kind=journal|url={{{url|}}}|title={{{title|}}}|last={{{last|{{{last1|}}}}}}|first={{{first|{{{first1|}}}}}}"
        "|author={{{author|}}}|work={{{journal|}}}|date={{{date|}}}|year={{{year|}}}}}"
        "{{#if:{{{volume|}}}|, volume {{{volume}}}}}{{#if:{{{pages|}}}|, pages {{{pages}}}}}"
    ),
    "Cite encyclopedia": "{{Citation/core|kind=encyclopedia|title={{{title|{{{article|}}}}}}|work={{{encyclopedia|}}}|year={{{year|}}}}}",
    "Citation": "{{Citation/core|kind=any|url={{{url|}}}|title={{{title|}}}|last={{{last|}}}|first={{{first|}}}|year={{{year|}}}}}",
    "Hatnote": _HATNOTE,
    "Main": "{{Hatnote|The long story: [[{{{1}}}]]{{#if:{{{2|}}}| and [[{{{2}}}]]}}}}",
    "See also": "{{Hatnote|Beside this: [[{{{1}}}]]{{#if:{{{2|}}}| and [[{{{2}}}]]}}}}",
    "Further": "{{Hatnote|More about this: {{{1|}}}}}",
    "About": "{{Hatnote|This page is about {{{1|its subject}}}.}}",
    "Fix": "<sup class=\"fix\">[''{{{1|wanting}}}''{{#if:{{{date|}}}| since {{{date}}}}}]</sup>",
    "Citation needed": "{{Fix|who says so?|date={{{date|}}}}}",
    "Clarify": "{{Fix|what does this mean?|date={{{date|}}}}}",
    "Reflist": '<div class="reflist">{{#tag:references||group={{{group|}}}}}</div>',
    "Refbegin": '<div class="refbegin">',
    "Refend": "</div>",
    "Clear": '<div style="clear:both"></div>',
    "Nowrap": '<span class="nowrap">{{{1|}}}</span>',
    "Small": "<small>{{{1|}}}</small>",
    "Lang": '<span lang="{{{1|}}}">{{{2|}}}</span>',
    "Convert": "{{{1|}}}&nbsp;{{{2|}}}{{#switch:{{{2}}}|km=&#32;({{#expr: {{{1}}} * 0.62 round 0}}&nbsp;mi)|m=|#default=}}",
    "Infobox/row": "{{#if:{{{2|}}}|\n{{!}}-\n! {{{1}}}\n{{!}} {{{2}}}}}",
    "Infobox": (
        '{| class="infobox"\n|+ {{{title|{{PAGENAME}}}}}{{Infobox/row|{{{label1|}}}|{{{data1|}}}}}'
        "{{Infobox/row|{{{label2|}}}|{{{data2|}}}}}{{Infobox/row|{{{label3|}}}|{{{data3|}}}}}\n|}"
    ),
    "Infobox country": (
        "{{Infobox|title={{{common_name|{{{conventional_long_name|}}}}}}|label1=Capital|data1={{{capital|}}}"
        "|label2=Money|data2={{{currency|}}}|label3=Calls|data3={{{calling_code|}}}}}"
    ),
    "Infobox person": "{{Infobox|title={{{name|}}}|label1=Born|data1={{{birth_date|}}}|label2=Died|data2={{{death_date|}}}}}",
    "Infobox settlement": (
        "{{Infobox|title={{{name|}}}|label1=Lies in|data1={{{subdivision_name|}}}|label2=People|data2={{{population_total|}}}}}"
    ),
    "Navbox/group": "{{#if:{{{1|}}}|<li>{{{1}}}: {{{2|}}}</li>}}",
    "Navbox": (
        '<ul class="navbox" title="{{{title|}}}">{{Navbox/group|{{{group1|}}}|{{{list1|}}}}}'
        "{{Navbox/group|{{{group2|}}}|{{{list2|}}}}}</ul>"
    ),
    "Navboxes": "{{Navbox|title={{{title|more}}}|group1=See|list1={{{list|}}}}}",
    "Authority control": "{{Navbox|title=authority|group1=Registers|list1={{{VIAF|none named}}}}}",
    "Sister": '<div class="sister">[[' + FILE_USED + "]] {{{1|}}}</div>",
    "Sister project links": "{{Sister|Others write about [[{{PAGENAME}}]] as well.}}",
    "Commons category": "{{Sister|Pictures of {{{1|{{PAGENAME}}}}}}}",
    "Wiktionary": "{{Sister|Words: {{{1|{{PAGENAME}}}}}}}",
    "DMOZ": "[http://directory.example/{{{1|}}} {{{2|{{PAGENAME}}}}}] in a directory of the web",
    "Dmoz": "#REDIRECT [[Template:DMOZ]]",
    "Portal": '{{#if:{{{1|}}}|<div class="portal">Portal [[Portal:{{{1}}}|{{{1}}}]]</div>}}',
    "Use dmy dates": "",
}
