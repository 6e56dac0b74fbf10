# What CI runs on every change, but for the labs: `just systemd`, `just kubo`, `just js`, `just py` and `just compare`.
check: fmt lint doc deny test demo

# Formatting, without changing anything.
fmt:
    cargo fmt --all --check

lint:
    cargo clippy --workspace --all-targets -- -D warnings

doc:
    RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps

# Licences and sources of everything that is linked in.
deny:
    cargo deny check licenses bans sources

test:
    cargo test --workspace

# The demo of the README, started and stopped.
demo:
    .ci/demo

# Makes the committed pages of the manual anew.
man:
    cargo run --quiet -- man p2ptun.1 >packaging/man/p2ptun.1
    cargo run --quiet -- man p2ptun.toml.5 >packaging/man/p2ptun.toml.5

# Against a real Kubo; needs Go.
kubo:
    tests/lab/kubo.sh

# Against js-libp2p; needs Node and npm.
js:
    tests/lab/js.sh

# Against py-libp2p; needs a C compiler and libgmp.
py:
    tests/lab/py_libp2p.sh

# Against ssh, rathole, frp and Kubo, as the README's table has it; needs Go, autossh and sshd.
compare:
    tests/lab/compare.sh

# How fast p2ptun and its peers are: `just bench --quick`, for one. As root it installs what Debian has of them.
bench *OPTIONS:
    benches/compare.sh {{OPTIONS}}

# The same over a path of 40 ms there and back, between network namespaces; needs root.
wan *OPTIONS:
    benches/wan.sh {{OPTIONS}}

# Under a real systemd, in namespaces; needs root and systemd.
systemd:
    tests/lab/systemd.sh

# Bursts and leak checks with their full numbers.
soak:
    P2PTUN_ROUNDS=20 cargo test --test bursts -- --nocapture
    P2PTUN_LEAK_CONNECTIONS=10000 P2PTUN_LEAK_RELOADS=1000 cargo test --test leaks -- --nocapture

# All that CI does, with what it installs.
ci:
    .ci/run
