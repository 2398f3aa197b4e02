# syntax=docker/dockerfile:1

# The operator:                docker build -t codeagent-operator .
# The simulated providers:     docker build -t codeagent-simulator --target simulator .

FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
# Both directories are caches of the builder, so the programs have to be copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --package codeagent-operator --package codeagent-simulator --bins \
    && mkdir /out \
    && cp target/release/codeagent-operator target/release/codeagent-simulator /out/

# glibc of the same Debian, certificate authorities, a user 65532; no shell, no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot AS simulator
COPY --from=build /out/codeagent-simulator /codeagent-simulator
# By number, so that Kubernetes can tell that it is not root.
USER 65532:65532
ENTRYPOINT ["/codeagent-simulator"]

# The last stage is what is built by default.
FROM gcr.io/distroless/cc-debian12:nonroot AS operator
COPY --from=build /out/codeagent-operator /codeagent-operator
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/codeagent-operator"]
CMD ["run"]
