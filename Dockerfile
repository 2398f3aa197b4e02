# syntax=docker/dockerfile:1

# The operator:                docker build -t codeagent-operator .
# The simulated providers:     docker build -t codeagent-simulator --target simulator .
# The program in agents' Pods: docker build -t codeagent-runner --target runner .

FROM rust:1.95-bookworm AS build
WORKDIR /build
# The runner is copied into images of every kind, with musl, an old glibc or none: it is linked statically.
RUN apt-get update && apt-get install --yes --no-install-recommends musl-tools && rm -rf /var/lib/apt/lists/* \
    && rustup target add "$(uname -m)-unknown-linux-musl"
COPY . .
# Both directories are caches of the builder, so the programs have to be copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --package codeagent-operator --package codeagent-simulator --bins \
    && cargo build --release --locked --package codeagent-runner --target "$(uname -m)-unknown-linux-musl" \
    && mkdir /out \
    && cp target/release/codeagent-operator target/release/codeagent-simulator "target/$(uname -m)-unknown-linux-musl/release/codeagent-runner" /out/

# glibc of the same Debian, certificate authorities, a user 65532; no shell, no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot AS simulator
COPY --from=build /out/codeagent-simulator /codeagent-simulator
# By number, so that Kubernetes can tell that it is not root.
USER 65532:65532
ENTRYPOINT ["/codeagent-simulator"]

# The init container of an agent's Pod: `codeagent-runner install DIR`.
FROM gcr.io/distroless/static-debian12:nonroot AS runner
COPY --from=build /out/codeagent-runner /codeagent-runner
USER 65532:65532
ENTRYPOINT ["/codeagent-runner"]

# The last stage is what is built by default.
FROM gcr.io/distroless/cc-debian12:nonroot AS operator
COPY --from=build /out/codeagent-operator /codeagent-operator
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/codeagent-operator"]
CMD ["run"]
