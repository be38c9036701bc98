# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8s_environment
short_description: Bring an environment of an application from its namespace to a new one
version_added: 0.1.0
description:
  - Takes what is in the namespace that an environment has had, or manifests, and adapts it to its new namespace, names,
    labels, virtual hosts and settings. It is applied there by the server (server-side apply).
  - Deployments, StatefulSets, Services, autoscalers, ConfigMaps, Ingresses, HTTPRoutes, NetworkPolicies, disruption
    budgets, accounts, Roles and their bindings are brought. Secrets, data and what runs by itself, such as a CronJob,
    are not.
  - The old namespace is only read. Code refuses every write to a namespace that is the source of any environment.
  - Nothing is applied when a workload, its replicas, the bounds of its autoscaler, its requests or its limits would be
    less than in the old namespace, or than in the new one already; when a required setting is missing or another; when
    a route keeps a host; when a value names the database, the Redis prefix or the namespace of another environment;
    when a Secret that a pod needs is missing; when a quota would not do; or when the server refuses any of it in a dry
    run.
  - What somebody else has written since, such as who has switched traffic, is not overwritten; it is a conflict.
  - Runs on the control node, whichever host the play is for; no host is connected to.
author:
  - bluegreen.cutover contributors (@bluegreen)
extends_documentation_fragment:
  - bluegreen.cutover.attributes
  - bluegreen.cutover.cluster
attributes:
  check_mode:
    support: full
    details: >-
      The server tries all of it, except in a namespace that is not there yet; then it warns, and RV(tried) is false.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  application:
    description: Name of the application; what another one has applied is never overwritten.
    type: str
    required: true
  environment:
    description: The environment to bring; one of O(environments).
    type: str
    required: true
  environments:
    description:
      - All environments of the application by name, because they are compared with each other.
      - Each has C(source) and C(namespace), the old namespace and the new one. It can have C(hosts) and C(names), old
        ones with their new ones; C(labels), which all objects get, and which replace those of that name in selectors;
        C(settings), values for keys of ConfigMaps and variables of containers; C(database) and C(redis_prefix), which
        no other environment may have or name; and C(quota), what the new namespace may use, as in C(spec.hard) of a
        ResourceQuota.
    type: dict
    required: true
  required:
    description: Settings that must be there, with their values; an empty text where any value will do.
    type: dict
    default: {}
  manifests:
    description: What is brought instead of what is in the old namespace. It is compared with that nevertheless.
    type: list
    elements: dict
seealso:
  - module: bluegreen.cutover.k8s_slot
"""

EXAMPLES = r"""
- name: Bring production to its new namespace
  bluegreen.cutover.k8s_environment:
    application: nextstep
    environment: prod
    environments:
      prod:
        source: nextstep-prod
        namespace: blueocean-nextstep-prod
        hosts:
          nextstep.local: nextstep.blueocean.local
        settings:
          REDIS_PREFIX: 'nextstep:prod:'
        database: nextstep_production
        redis_prefix: 'nextstep:prod:'
      staging:
        source: nextstep-staging
        namespace: blueocean-staging-shared
        hosts:
          staging.nextstep.local: nextstep.staging-shared.local
        settings:
          REDIS_PREFIX: 'nextstep:staging:'
          DATABASE: blueocean_staging_shared
        database: blueocean_staging_shared
        redis_prefix: 'nextstep:staging:'
        quota:
          requests.cpu: '4'
          requests.memory: 4Gi
    required:
      SAFETY_RAILS_ENABLED: 'true'
      MONITORING_ENDPOINT: ''
"""

RETURN = r"""
namespace:
  description: The new namespace.
  type: str
  returned: success
  sample: blueocean-nextstep-prod
objects:
  description: What became of each object, or would.
  type: list
  elements: dict
  returned: success
  sample: [{object: Deployment/api, done: created}, {object: Service/api, done: as it is}]
tried:
  description: Whether the server has tried all of it before any object was made, or would be.
  type: bool
  returned: success
reason:
  description: A stable word for the kind of failure; V(environment) when it may not be brought like that.
  type: str
  returned: failure
  sample: environment
evidence:
  description: What was seen when it failed; with RV(reason=environment) C(problems), one sentence each.
  type: dict
  returned: failure
"""
