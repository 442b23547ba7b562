#!/usr/bin/env bash
# Has schemathesis (from PyPI) make requests from docs/openapi.json, sensible ones and others, and send
# them to a running cluster: no answer may be a failure of the server (5xx), or one that the description
# does not have.
#
# API_EXAMPLES   requests made for each route, beside those at the edges of what it takes (100)
# API_SEED       makes the same requests again (a new one each time)

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

scripts/install-dependencies.sh
# A fresh Rust is not in this shell's PATH yet.
. scripts/common.sh
need_rust

tester=target/schemathesis
if [ ! -x $tester/bin/schemathesis ]; then
    say "installing schemathesis from PyPI into $tester"
    python3 -m venv $tester 2>/dev/null || {
        say "installing by apt-get: python3-venv"
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y python3-venv </dev/null >&2
        python3 -m venv $tester
    }
    $tester/bin/pip install --quiet 'schemathesis>=4,<5'
fi

say "building"
as_builder cargo build --workspace --locked --bins --quiet

name=api-$$
home=$(mktemp -d)
end() {
    as_root env "HOME=$home" target/debug/flocker sandbox down $name >&2 || say "the sandbox $name is left"
    as_root rm -rf "$home"
}
trap end EXIT
as_root env "HOME=$home" target/debug/flocker sandbox up --nodes 2 --name $name >&2

context=$home/.config/flocker/contexts/sandbox-$name
address=$(as_root sed -n 's/^control = "\(.*\)"/\1/p' "$context/config.toml")
# Control's certificate names the cluster and no host: the tester cannot check that, our clients do. That a
# request is refused which fits its schema is no mistake: schemas cannot tell a certificate request from text.
as_root $tester/bin/schemathesis run docs/openapi.json --url "https://$address" \
    --request-cert "$context/user.pem" --request-cert-key "$context/user.pem" --tls-verify false \
    --phases examples,coverage,fuzzing --max-examples "${API_EXAMPLES:-100}" ${API_SEED:+--seed "$API_SEED"} \
    --exclude-checks positive_data_acceptance --request-timeout 30 \
    --exclude-path /v1/events --exclude-path-regex '/end$'
