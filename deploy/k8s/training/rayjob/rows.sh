# Runs on the head. Each stage finds what it has done, so a job that was tried again goes on.
set -eu
cd /rows
graduand train data logs --from /data/logs --route support-triage --out support-triage.jsonl --holdout 0.1

# A second opinion on each row; leave it out, and curate support-triage.jsonl, where the log's own answers will do.
graduand train label --data support-triage.jsonl --task /etc/graduand/task.yaml --teachers /etc/graduand/teachers.yaml \
  --budget-dollars 20 --concurrency 16 --out . --engine ray --ray-address auto
graduand train curate --data label/rows.jsonl --config /etc/graduand/curate.yaml --out . --engine ray --ray-address auto

# `graduand train split` makes the frozen test sets, once; without them there is nothing to evaluate on.
for adapter in /adapters/support-triage@*; do
  if [ -d "$adapter" ] && [ -d split ]; then
    graduand train evaluate --adapter "$adapter" --tests split --task /etc/graduand/task.yaml --threads 4 --out . \
      --engine ray --ray-address auto
  fi
done
