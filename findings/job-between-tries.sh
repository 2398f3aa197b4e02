#!/usr/bin/env bash
# samco-job-lifecycle closes a Job as FAILED while Kubernetes runs its second try; k8s-job-scheduler raises between tries.
#
# Expected: a Job has finished when it has the condition Complete or Failed. After a failed Pod the Job controller waits
#   (10 s, doubling) before the next one, as long as backoffLimit allows it; meanwhile status has failed: 1, no active
#   Pod and no condition. `kubectl wait` goes on waiting then.
# Seen: samco-job-lifecycle falls back on the counters, failed before active: FAILED from the first failed Pod on, also
#   while the next one runs. FAILED is terminal for it and may not become SUCCEEDED, though its own ExecutionSpec offers
#   backoff_limit. While the controller waits, active_count(), its limit of parallel work, does not count the Job.
#   k8s-job-scheduler raises a TypeError in job_status() then, and its parse_status() says FAILED.
# Versions: PyPI samco-job-lifecycle 0.2.0, k8s-job-scheduler 0.2.3, kubernetes 36.0.2.
# What it means: an agent's run is reported as failed and, since its slot is free, started once more by a scheduler,
#   while Kubernetes runs the second try of the first. Set backoffLimit: 0 with these libraries, or read the conditions.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
  samco-job-lifecycle==0.2.0 k8s-job-scheduler==0.2.3 kubernetes==36.0.2
cat > observe.py <<'PY'
from kubernetes.client import V1Job, V1JobCondition, V1JobList, V1JobSpec, V1JobStatus, V1ObjectMeta, V1PodTemplateSpec

from k8s_job_scheduler import job_manager
from samco_job_lifecycle import KubernetesJobRuntime, LabelSelector, observation_from_job
from samco_job_lifecycle.states import can_transition


def job(**status):
    spec = V1JobSpec(backoff_limit=3, template=V1PodTemplateSpec())
    return V1Job(metadata=V1ObjectMeta(name="agent", uid="u"), spec=spec, status=V1JobStatus(**status))


complete = [V1JobCondition(type="Complete", status="True")]
states = {
    "first try runs": job(active=1, ready=1),
    "first try has failed, next one in 10 s": job(ready=0, failed=1),
    "second try runs": job(active=1, ready=1, failed=1),
    "second try has succeeded": job(ready=0, succeeded=1, failed=1, conditions=complete),
}


class Batch:
    """Answers as the API would, with one Job."""

    def list_namespaced_job(self, *_, **__): return V1JobList(items=[self.job])

    def read_namespaced_job_status(self, *_): return self.job


batch = Batch()
scheduler = object.__new__(job_manager.JobManager)
scheduler._batch_api, scheduler._namespace = batch, "default"
phases = {}
for state, batch.job in states.items():
    phases[state] = observation_from_job(batch.job).phase
    counted = KubernetesJobRuntime("default", batch_api=batch).active_count(LabelSelector({"app": "agent"}))
    try:
        status = scheduler.job_status("agent")[0]
    except TypeError as error:
        status = f"TypeError ({scheduler.parse_status(batch.job)})"
    print(f"{state}: samco {phases[state]}, counted as active {counted}; k8s-job-scheduler {status}")
failed = phases["first try has failed, next one in 10 s"]
print("samco, may FAILED become SUCCEEDED later:", can_transition(failed, phases["second try has succeeded"]))
PY
venv/bin/python observe.py | tee seen
diff seen - <<'SEEN'
first try runs: samco RUNNING, counted as active 1; k8s-job-scheduler READY
first try has failed, next one in 10 s: samco FAILED, counted as active 0; k8s-job-scheduler TypeError (FAILED)
second try runs: samco FAILED, counted as active 1; k8s-job-scheduler READY
second try has succeeded: samco SUCCEEDED, counted as active 0; k8s-job-scheduler SUCCEEDED
samco, may FAILED become SUCCEEDED later: False
SEEN
echo "as recorded: a Job that is tried again is taken for a failed one"
