#!/usr/bin/env bash
# What each role may do on Kafka, and nothing else: one principal per role. docs/threat-model.md has the same as a table, and
# tests/kafka/test_acls.py runs worker, projector, reader and publisher on a broker with exactly these rules.
#
#   KAFKA_ACLS="kafka-acls --bootstrap-server HOST:PORT --command-config admin.properties" deploy/kafka/acls.sh ROLE PRINCIPAL [INBOUND TOPIC ...]
#
# ROLE: worker, projector, gateway, deliver, reader (verify, explain, dump, rejects list), publisher (name its inbound topics), operator
# (topics create, rules publish, tick, restore, repartition, forget). PRINCIPAL as the broker names it: User:worker, User:CN=worker.
# PREFIX (--topic-prefix, default none) and APP (--app, default stammgast) are taken from the environment. Saying it twice adds nothing.
set -euo pipefail

usage() { sed -n '5,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[[ $# -ge 2 ]] || usage
role=$1 principal=$2
shift 2
prefix=${PREFIX:-} app=${APP:-stammgast}
inbound=(shop-events pos-events app-events staff-events profile-events)
read -r -a command <<<"${KAFKA_ACLS:-kafka-acls --bootstrap-server localhost:9092}"

# allow "OPERATION ..." topic ...
allow() {
    local operations=() arguments=()
    for operation in $1; do operations+=(--operation "$operation"); done
    shift
    for topic in "$@"; do arguments+=(--topic "$prefix$topic"); done
    "${command[@]}" --add --allow-principal "$principal" "${operations[@]}" "${arguments[@]}"
}

case $role in
worker)
    allow "Read Describe" "${inbound[@]}" programmes deployment
    allow "Read Write Describe" facts points-log member-snapshots
    allow "Write Describe" rejects incentives
    # It is nobody's who decides, but a deployment has all its topics or does not start.
    allow "Describe" dead-notices
    # It refuses logs that forget, so it must see how they are set.
    allow "DescribeConfigs" facts points-log
    "${command[@]}" --add --allow-principal "$principal" --operation Read --operation Describe --group "$prefix$app"
    # Its transactions fence whoever had a partition before: nobody else may use these names.
    "${command[@]}" --add --allow-principal "$principal" --operation Write --operation Describe \
        --transactional-id "$prefix$app-rewards-" --resource-pattern-type prefixed
    ;;
projector)
    allow "Read Describe" facts points-log rejects deployment
    ;;
gateway)
    # Its read model starts from the workers' snapshots.
    allow "Read Describe" facts points-log rejects programmes member-snapshots deployment
    allow "Write Describe" shop-events pos-events app-events
    ;;
deliver)
    allow "Read Describe" incentives deployment
    allow "Read Write Describe" dead-notices
    allow "Write Describe" app-events
    "${command[@]}" --add --allow-principal "$principal" --operation Read --operation Describe --group "$prefix$app-deliver"
    ;;
reader)
    allow "Read Describe" facts points-log rejects programmes deployment
    ;;
publisher)
    [[ $# -ge 1 ]] || usage
    allow "Write Describe" "$@"
    ;;
operator)
    "${command[@]}" --add --allow-principal "$principal" --operation All --topic "${prefix:-*}" \
        --resource-pattern-type "$([[ -n $prefix ]] && echo prefixed || echo literal)"
    "${command[@]}" --add --allow-principal "$principal" --operation All --group "${prefix:-*}" \
        --resource-pattern-type "$([[ -n $prefix ]] && echo prefixed || echo literal)"
    "${command[@]}" --add --allow-principal "$principal" --operation All --transactional-id "${prefix:-*}" \
        --resource-pattern-type "$([[ -n $prefix ]] && echo prefixed || echo literal)"
    ;;
*)
    usage
    ;;
esac
