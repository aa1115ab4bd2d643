"""The wiki as a client sees it: action API, titles, recent changes.

client          the action API over HTTP; `answers` are its forms, `errors` what can go wrong
titles          titles and addresses by the wiki's own rules, pure
normalise       the HTML of a parse without what differs each time, pure
follower        polls recent changes; `position` is how far it is, `recentchanges` turns rows into events, `eventbus` is their form
timestamps      as the action API writes them
ports, config   what is needed from outside, and the section `wikis`; `metrics` as in every room
"""
