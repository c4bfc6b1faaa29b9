"""Policies as people write them, told once for all tests of policies."""

from __future__ import annotations

EVERYTHING = """\
flag: checkout-v2
environment: production
control: control                 # the variation that others are compared with
owner: team-checkout             # routes pages
mode: enforce                    # enforce | shadow
false_kills: {per_rollout: 0.001, per_day: 0.001}  # expected number allowed, over all guardrails
guardrails:
  - when: error_rate > 1.2x control  # tested valid at every peek, against the control of the same moment
    then: kill
  - when: error_rate > 5%                    # against a fixed bound, tested as well
    then: kill
  - when: latency_p95 > 2x baseline          # "baseline" is another word for control
    then: step_back
  - when: latency_p95 > 300ms
    then: pause
  - when: csat < control - 0.3
    then: pause
  - when: report_rate > 2x control
    then: kill
  - when: error_rate > 5% for 10m  # the literal window rule, as people know it, beside its tested form
    then: kill
  - when: sample_ratio off                   # traffic split differs from the configured one
    then: pause
  - when: no_data for 2m
    then: pause
stages:
  - {share: 1%,  for: 10m}
  - {share: 10%, for: 1h, until: "error_rate < 1.1x control"}      # goes on when non-inferiority is shown
  - {share: 50%, for: 1d, approval: [release-managers]}
  - {share: 100%}
cooldown: 30m
"""
"""Every word of the policy language."""

SCHEDULE = """\
rollout: new_search_algorithm
strategy: ring_based

phases:
  - name: Internal
    start: 2024-11-15 09:00 UTC
    duration: 48h
    users: employees
    size: ~500
    
  - name: Beta Users
    start: 2024-11-17 09:00 UTC
    duration: 72h
    users: beta_program
    size: ~5,000
    criteria:
      - zero_critical_issues
      - search_quality_score > 0.85
    
  - name: Standard Rollout
    start: 2024-11-20 09:00 UTC
    strategy: percentage
    increments:
      - 5%: Day 0
      - 10%: Day 1
      - 25%: Day 3
      - 50%: Day 7
      - 100%: Day 14
    pause_conditions:
      - error_rate > 0.5%
      - search_latency_p95 > 300ms
"""  # noqa: W293 - the spaces are in the schedule as teams have it
"""A schedule as a team planned it, with words of its own."""

DECLARATIONS = """\
signals:
  zero_critical_issues: {means: "report_rate < 0.1%"}
  search_quality_score: {measure: search_quality_score, range: [0, 1]}
  search_latency_p95: {of: latency_p95, where: {operation: "GET /search"}}
"""
"""What those words mean."""

SIMPLE = """\
flag: checkout-v2
environment: production
guardrails:
  - when: error_rate > 1.2x control
    then: kill
stages:
  - {share: 10%, for: 1h}
  - {share: 100%}
"""
"""Only what this version runs."""

STEPPING = [{"when": "error_rate > 5%", "then": "step_back"}]
"""Guardrails that need a stage to step back to."""
