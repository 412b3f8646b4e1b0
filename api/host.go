package api

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// checkHost refuses requests whose Host names another machine: a page in a browser, whose name was pointed here (DNS
// rebinding). Such an attack needs a name, so where the listener takes any address, any address may be named.
func (g *guard) checkHost(next http.Handler) http.Handler {
	if g.door == doorSocket {
		return next
	}
	own, _, _ := net.SplitHostPort(g.listen)
	wildcard := own == ""
	if a, err := netip.ParseAddr(own); err == nil {
		wildcard = a.IsUnspecified()
	}
	known := append([]string{"localhost", "127.0.0.1", "::1", own}, g.hosts...)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		host := hostOnly(req.Host)
		_, err := netip.ParseAddr(host)
		same := func(name string) bool { return name != "" && strings.EqualFold(name, host) }
		if slices.ContainsFunc(known, same) || wildcard && err == nil {
			next.ServeHTTP(w, req)
			return
		}
		g.refuse(w, refusedHost, newProblem(http.StatusForbidden, "the request is for a host that is not this server: "+
			"use http://%s, or add the name to hosts in the configuration", g.listen))
	})
}

// hostOnly takes the port and the brackets off a Host header.
func hostOnly(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
}

// checkOrigin refuses what a page of another site makes a browser send: on loopback triggers need no token, so that a
// page could fire them.
func (g *guard) checkOrigin(next http.Handler) http.Handler {
	cross := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if cross.Check(req) != nil {
			g.refuse(w, refusedOrigin, newProblem(http.StatusForbidden, "a page of another site made a browser send this: "+
				"send it from a program, without Origin and Sec-Fetch-Site"))
			return
		}
		next.ServeHTTP(w, req)
	})
}
