# Varnish 7.1 in front of Headwater's pages API. How to use it: docs/how-to/varnish.md
#
# What it takes care of:
# - copies live exactly as long as the pages API says (s-maxage, stale-while-revalidate), never by a default of Varnish;
# - PURGE drops the copies of one URL and is accepted only from the addresses below, directly, not through a proxy;
# - concurrent misses of one URL become one request to the pages API;
# - a fill that began before a purge may land after it: Headwater purges a second time when `purging.origin_timeout_max` has passed. That
#   option must be above the longest fetch that the time-outs of the backend below allow.

vcl 4.1;

import std;

backend pages {
    .host = "127.0.0.1";
    .port = "8082";
    .connect_timeout = 2s;
    .first_byte_timeout = 30s;
    .between_bytes_timeout = 10s;
    .max_connections = 256;
}

# Who may purge: this machine. Add the address of the machine that runs the role `purging`, if it is another.
acl purgers {
    "127.0.0.1";
    "::1";
}

sub vcl_recv {
    if (req.http.Host) {
        # One page, one copy: the host's case and the default port do not make another.
        set req.http.Host = regsub(std.tolower(req.http.Host), ":80$", "");
    }
    if (req.method == "PURGE") {
        # A request that came through a proxy on this machine has its address, not its rights.
        if (client.ip !~ purgers || req.http.X-Forwarded-For ~ "," || req.http.Forwarded || req.http.Via) {
            return (synth(403, "Not allowed to purge"));
        }
        return (purge);
    }
    if (req.method != "GET" && req.method != "HEAD") {
        return (pass);
    }
    unset req.http.Cookie;
    # Authorised and explicitly fresh reads are for one reader. An address with a query (?redirect=no) is not among those that are purged.
    if (req.http.Authorization || req.http.Headwater-Read || req.url ~ "\?") {
        return (pass);
    }
    return (hash);
}

sub vcl_backend_response {
    if (beresp.status >= 500) {
        if (bereq.is_bgfetch) {
            # Keep the stale copy for as long as stale-while-revalidate allows.
            return (abandon);
        }
        set beresp.uncacheable = true;
        set beresp.ttl = 0s;
        return (deliver);
    }
    if (beresp.http.Cache-Control !~ "(?i)(s-maxage|max-age)") {
        set beresp.uncacheable = true;
        set beresp.ttl = 0s;
        return (deliver);
    }
    if (beresp.http.Cache-Control !~ "(?i)stale-while-revalidate") {
        set beresp.grace = 0s;
    }
    if (beresp.http.ETag && beresp.ttl > 0s) {
        # Long enough to revalidate an expired copy by its ETag.
        set beresp.keep = 10m;
    }
}

sub vcl_deliver {
    if (obj.hits > 0) {
        set resp.http.X-Cache = "hit";
    } else {
        set resp.http.X-Cache = "miss";
    }
    unset resp.http.X-Varnish;
    unset resp.http.Via;
}
