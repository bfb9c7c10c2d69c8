"""README.md of an exported run: how to verify it with OpenSSL and coreutils, without us.

Promises: the commands are those of docs/how-to/verify-a-run.md, which a test compares; nothing in it comes from the
run but its id, so that a run cannot write instructions. Does not: read files.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from controller.api.manifest import RunManifest

COMMANDS = r"""set -eu
work=$(mktemp -d)
envelope=$RUN/attestation.dsse.json
test "$(grep -o '"sig":' "$envelope" | wc -l)" = 1   # exactly one signature
type=$(sed 's/.*"payloadType":"\([^"]*\)".*/\1/' "$envelope")
keyid=$(sed 's/.*"keyid":"\([0-9a-f]\{64\}\)".*/\1/' "$envelope")
sed 's/.*"payload":"\([^"]*\)".*/\1/' "$envelope" | base64 -d > "$work/payload"
sed 's/.*"sig":"\([^"]*\)".*/\1/' "$envelope" | base64 -d > "$work/signature"
printf 'DSSEv1 %d %s %d ' "${#type}" "$type" "$(wc -c < "$work/payload")" > "$work/message"
cat "$work/payload" >> "$work/message"

# the key is the one its name says, is not revoked, and made this signature
if grep -qs "^$keyid " "$TRUST/revoked"; then echo "key $keyid is revoked" >&2; exit 1; fi
test "$(openssl pkey -pubin -in "$TRUST/$keyid.pub.pem" -outform DER | sha256sum | cut -d' ' -f1)" = "$keyid"
openssl pkeyutl -verify -rawin -pubin -inkey "$TRUST/$keyid.pub.pem" -in "$work/message" -sigfile "$work/signature"

# it is a statement about a run, and every file that it names has the digest that was signed
grep -q '^{"_type":"https://in-toto.io/Statement/v1","predicate":' "$work/payload"
grep -q '"predicateType":"https://slsa.dev/provenance/v1","subject":\[[^]]*\]}$' "$work/payload"
sed 's/.*"subject":\[//' "$work/payload" |
  grep -o '"sha256":"[0-9a-f]*"},"name":"[^"]*"' |
  sed 's/"sha256":"\(.*\)"},"name":"\(.*\)"/\1  \2/; s/  metrics\.jsonl$/  results\/metrics.jsonl/' > "$work/subjects"
cd "$RUN"
sha256sum --check --strict "$work/subjects"
"""

TEXT = """\
# Run @RUN@

One run of an experiment, exported by fetchml, with everything that proves it.

| file | what it is |
|---|---|
| `attestation.dsse.json` | a DSSE envelope: the signed in-toto statement about the run, a SLSA v1 provenance |
| `verdict.dsse.json` | the same form: the trust level, a SLSA verification summary |
| `run_manifest.json`, `plan.json`, `run.log`, `results/` | what the statement is about, by sha256 |
| `spec.yaml` | the spec as it stood at launch; its digest is in the manifest |
| `trust/` | the public key that verifies the signature |
| `ro-crate-metadata.json` | RO-Crate 1.1 metadata |

## Whose key is it?

The key in `trust/` came with the archive, so it proves nothing by itself. Its id is the sha256 of the key:

    @KEY@

Compare that with what the people who ran it published (the file name in `trust/` of their repository), or point `TRUST`
below at your own copy of their `trust/` folder. If they revoked the key since, it is listed there in `trust/revoked`.

## Verify, with OpenSSL 3 and coreutils

In this folder, in a POSIX shell:

```sh
RUN=${RUN:-.}
TRUST=$(realpath "${TRUST:-trust}")
@COMMANDS@```

`Signature Verified Successfully` and `OK` behind every file is what you want to see; the commands stop with an error
otherwise. They do not check the trust level, nor a file whose name holds a quote or a bracket. With fetchml,
`ml verify` on the archive does, and derives plan, statement and level again.
"""


def readme(manifest: "RunManifest", key_id: str) -> str:
    """The text for this run, signed by the key with this id."""
    return TEXT.replace("@RUN@", manifest.run_id).replace("@KEY@", key_id).replace("@COMMANDS@", COMMANDS)
