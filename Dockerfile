# The recorder with what it runs: tcpdump compiles filter expressions, journalctl (of systemd) reads the node's journal, CA
# certificates are for object stores.
FROM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY api api
COPY capture capture
COPY cmd cmd
COPY config config
COPY detect detect
COPY evidence evidence
COPY failpoint failpoint
COPY hoststate hoststate
COPY lab lab
COPY pcapng pcapng
COPY rotate rotate
COPY trigger trigger
COPY upload upload
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /ringside ./cmd/ringside

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends tcpdump systemd ca-certificates \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /ringside /usr/local/bin/ringside
COPY config.example.yaml /etc/ringside/config.example.yaml
COPY LICENSE /usr/share/doc/ringside/LICENSE
# Recording needs CAP_NET_RAW in the host's network namespace, and CAP_NET_ADMIN to watch conntrack and nftables; the spool
# is a volume:
#   docker run --network host --cap-drop ALL --cap-add NET_RAW --cap-add NET_ADMIN -v /var/lib/ringside:/var/lib/ringside ringside
VOLUME /var/lib/ringside
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/ringside"]
CMD ["run"]
