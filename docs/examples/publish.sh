#!/bin/sh
# Publish one event by HTTP and ask what became of it. KEY is an API key; GATEWAY is where it listens.
set -eu
: "${KEY:?make one: stammgast gateway key new my-till --source urn:my-shop --may publish --may read}"
GATEWAY="${GATEWAY:-http://127.0.0.1:8080}"
EVENT="${1:-$(dirname "$0")/purchase.json}"

# 202: it is in the log, on every copy. 4xx: the answer says what is wrong. 503: send the same event again, it counts once.
curl --silent --show-error --retry 5 --retry-all-errors --fail-with-body \
  --header "Authorization: Bearer $KEY" \
  --header "Content-Type: application/cloudevents+json" \
  --data-binary "@$EVENT" "$GATEWAY/events"
echo
