# docker build -f deploy/images/receiver.Dockerfile -t towline/receiver:0.1.0 .
# Static, on nothing: no shell, no package manager, no user but the number.
FROM rust:1.95.0-alpine AS build
# What aws-lc, the TLS library, is built with.
RUN apk add --no-cache build-base cmake linux-headers perl
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --package towline-receiver --bin towline-receiver && cp target/release/towline-receiver /towline-receiver

FROM alpine:3.22 AS certificates
RUN apk add --no-cache ca-certificates

FROM scratch
COPY --from=certificates /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /towline-receiver /towline-receiver
USER 65532:65532
ENTRYPOINT ["/towline-receiver"]
