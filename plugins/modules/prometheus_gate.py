#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: prometheus_gate
short_description: Decide from metrics whether green may go on
version_added: 0.1.0
description:
  - Watches criteria in Prometheus for a window and returns a verdict. V(pass) when every required criterion is proven,
    V(fail) when one is broken, V(inconclusive) when the data does not say, V(open) when O(max_wait) ended first.
  - No data, NaN, several series, stale or partial data and a Prometheus that does not answer are never a pass.
    They are waited for during O(hold), then the verdict is V(inconclusive), each with its own reason.
  - Ratios are judged on raw counters, scrape by scrape, with tests whose error holds however often one looks. The
    formulas and their measured error are in C(docs/gate.md).
  - A broken criterion that only calls a hook does not hide that another one cannot be judged for longer than O(hold).
  - When both colours are bad, that is not green's fault. The gate holds instead of failing (C(common_mode)).
  - While it waits, a line per criterion is shown at least every 10 seconds.
  - The task fails on every verdict but V(pass), unless O(accept) names it.
author:
  - bluegreen.cutover contributors (@bluegreen)
extends_documentation_fragment:
  - bluegreen.cutover.attributes
  - bluegreen.cutover.attributes.reads
  - bluegreen.cutover.prometheus
options:
  criteria:
    description:
      - What is asked of green. Each has a C(name), a C(kind), an C(action) that is wanted when it is broken
        (C(rollback), the default, C(rollback_progressive), C(performance_mode) or C(notify)), and C(required)
        (default true; a criterion that is not required can fail the gate, but need not be proven for a pass).
      - "C(kind: ratio) has C(total), a plain selector of a counter, and C(bad) or C(good): matchers that narrow it,
        such as C(code=~\"5..\"), or a selector of its own. The limit is C(max) of the bad share, C(min) of the good,
        or C(max_ratio), a multiple of blue's bad share; a bad share below C(floor) is then fine whatever blue's is.
        C(baseline) is blue's total (with C(baseline_bad) or C(baseline_good) where the part is a selector too)."
      - "C(kind: latency) has C(histogram), the selector of its C(_bucket) series without C(le), C(quantile)
        (default 0.95), and C(max) in seconds, which must be a bound of the histogram, or C(max_increase), such as 0.1
        for blue + 10 %, with C(baseline) and, if wanted, the bound to compare at, C(le)."
      - "C(kind: query) has C(query), any PromQL, C(max) and/or C(min), C(for), how long it has to be past them, in the
        time of the samples, C(reducer) (C(min), C(max), C(sum), C(avg)) where it gives several series, C(baseline), the
        same for blue, and C(fresh), a selector whose samples show that the data lives; needed unless C(query) is a
        selector itself."
      - "C(kind: burn_rate) has C(total) and C(bad) as above, C(objective), such as 0.999, C(windows), a list of
        C(long), C(short) and C(factor) (default 1h, 5m, 14.4 and 6h, 30m, 6), and C(for)."
    type: list
    elements: dict
    required: true
  window:
    description:
      - How long green is watched, such as C(10m) or C(48h), counted on the samples. Missing data stops the clock.
    type: str
    required: true
  scrape_interval:
    description: How often Prometheus scrapes the targets.
    type: str
    default: 15s
  max_age:
    description: A sample older than this is stale. The default is three times O(scrape_interval).
    type: str
  hold:
    description: How long nothing may be known before the gate gives up with V(inconclusive).
    type: str
    default: 2m
  history:
    description: How much of blue's past is read to learn how errors cluster.
    type: str
    default: 1h
  alpha:
    description:
      - Probability of going back from a green that is good enough, in this window, whatever the number of criteria.
        Those of the kinds C(ratio) and C(latency) that go back share it. The other kinds compare values, and have no
        such bound.
    type: float
    default: 0.01
  beta:
    description: Probability of passing a green that is not.
    type: float
    default: 0.05
  dispersion:
    description:
      - Variance of the bad requests of a scrape, divided by their mean, where it is known. V(1) means that they are
        independent.
      - By default it is learnt from blue's O(history). Without one, only tests that hold for any clustering are used,
        which are slower.
    type: float
  expected_rps:
    description:
      - Requests a second that green will get. By default that is measured in the first three scrapes.
      - A window that cannot bring as many requests as a pass needs is then refused, with the number.
    type: float
  warnings_allowed:
    description: Regular expressions of warnings that do not make an answer partial.
    type: list
    elements: str
    default: []
  state:
    description: What an earlier run returned as RV(ignore:state), to go on from there.
    type: dict
  max_wait:
    description: How long this task may last, such as C(10m). The verdict is V(open) when the window is longer.
    type: str
  accept:
    description: Verdicts beside V(pass) that do not fail the task. A wrong configuration always does.
    type: list
    elements: str
    choices: [fail, inconclusive, open]
    default: []
notes:
  - C(circuit) in RV(ignore:state) is a breaker. After 5 failures in a row Prometheus is left alone for 60 seconds.
  - In check mode the window that has just gone by is judged, with one evaluation, and nothing is waited for.
"""

EXAMPLES = r"""
- name: Watch green for ten minutes
  bluegreen.cutover.prometheus_gate:
    url: http://prometheus.example.com:9090
    window: 10m
    criteria:
      - name: errors
        kind: ratio
        total: http_requests_total{job="shop",colour="green"}
        bad: code=~"5.."
        baseline: http_requests_total{job="shop",colour="blue"}
        max: 0.01
      - name: p95 below 100 ms
        kind: latency
        histogram: http_request_duration_seconds_bucket{job="shop",colour="green"}
        quantile: 0.95
        max: 0.1
        action: performance_mode
  delegate_to: monitoring

- name: Go on with a window of two days, for at most an hour
  bluegreen.cutover.prometheus_gate:
    url: https://prometheus.example.com
    token: "{{ prometheus_token }}"
    window: 48h
    max_wait: 1h
    accept: [open, fail, inconclusive]
    state: "{{ saved_state }}"
    criteria:
      - name: precision
        kind: query
        query: avg(precision{version="v2"})
        fresh: precision{version="v2"}
        min: 0.90
        for: 2m
        action: rollback_progressive
      - name: errors like blue
        kind: ratio
        total: requests_total{version="v2"}
        bad: outcome="error"
        baseline: requests_total{version="v1"}
        max_ratio: 1.5
        floor: 0.001
      - name: budget
        kind: burn_rate
        total: requests_total{version="v2"}
        bad: outcome="error"
        objective: 0.999
        action: notify
  register: gate
"""

RETURN = r"""
verdict:
  description: V(pass), V(fail), V(inconclusive) or V(open).
  type: str
  returned: always, but when the arguments are wrong
  sample: pass
would_verdict:
  description: The verdict on the window that has just gone by.
  type: str
  returned: in check mode
  sample: pass
reason:
  description:
    - Why. With V(fail) C(breach). With V(inconclusive) C(no_data), C(stale), C(not_finite), C(several_series),
      C(low_traffic), C(near_limit), C(common_mode), C(breach_pending), C(warnings), C(unreachable), C(config),
      C(state). With V(open) one of these when nothing is known at the moment, C(behind) when samples that are there are
      not all judged yet, else C(window).
  type: str
  returned: always
  sample: low_traffic
message:
  description: The same in words.
  type: str
  returned: success
wanted:
  description: The action of the gravest broken criterion.
  type: str
  returned: success
  sample: rollback
criteria:
  description:
    - Where each criterion stands. C(covered) and C(sample_time) in seconds. C(log_e) is the evidence against green,
      C(log_proof) for it, both as natural logarithms.
  type: list
  elements: dict
  returned: success
evaluations:
  description:
    - Each look that saw something new. C(time) and C(sample_time) in seconds by Prometheus' clock, C(ms) in
      milliseconds.
  type: list
  elements: dict
  returned: success
  sample:
    - time: 1760000000.0
      sample_time: 1759999999.2
      criterion: errors
      query: http_requests_total{job="shop",code=~"5.."} / http_requests_total{job="shop"}
      value: 0.002
      threshold: 0.01
      baseline: 0.0019
      n: 1000.0
      bad: 2.0
      log_e: -1.2
      status: pending
      reason: null
      message: 1000 requests seen, 368 needed if none is bad
      warnings: []
      http_status: 200
      ms: 3.1
evaluations_dropped:
  description: How many older ones are not in the list.
  type: int
  returned: success
covered:
  description: Seconds of the window that had data.
  type: float
  returned: success
left:
  description: Seconds of the window that are left.
  type: float
  returned: success
behind:
  description: Seconds of samples that are still to be judged, after a long time in which nobody looked.
  type: float
  returned: success
missing:
  description: Seconds since the gate began that no sample covers; of the last scrapes it is never known yet.
  type: float
  returned: success
required_requests:
  description: Requests to green that a pass needs, when the window cannot bring them.
  type: int
  returned: success
expected_requests:
  description: Requests to green that the window brings.
  type: float
  returned: success
progress:
  description: A line per criterion for people.
  type: list
  elements: str
  returned: success
state:
  description: What a later run needs to go on; small, and free of secrets.
  type: dict
  returned: success
evidence:
  description: What was seen when it failed.
  type: dict
  returned: failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.gate.criteria import duration
from ansible_collections.bluegreen.cutover.plugins.module_utils._gate import (
    CONNECTION_ARGUMENTS,
    GATE_ARGUMENTS,
    Gate,
    as_result,
    make_connection,
    make_options,
)


def main() -> None:
    module = AnsibleModule(argument_spec={**CONNECTION_ARGUMENTS, **GATE_ARGUMENTS}, supports_check_mode=True)
    given = module.params
    gate, known = None, {}
    try:
        wait = None if given["max_wait"] is None else duration(given["max_wait"], "max_wait")
        options = make_options(given)
        # From here on what fails is who is asked, or what is gone on with: that says nothing of green.
        known = {"verdict": "inconclusive", "state": given["state"], "evaluations": []}
        gate = Gate(options, make_connection(given), given["state"])
        result = as_result(gate.run(wait, rehearse=module.check_mode))
    except CutoverError as error:
        if gate:
            known = {**known, "state": gate.dump(), "evaluations": gate.evaluations}
        module.fail_json(**error.as_result(), **known)
    if module.check_mode:
        result["would_verdict"] = result["verdict"]
    elif result["verdict"] not in ("pass", *given["accept"]):
        module.fail_json(msg=f"The gate says {result['verdict']}: {result['message'] or result['reason']}.", **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
