# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8s_build
short_description: Build an image in a cluster, push it, and tell its digest
version_added: 0.1.0
description:
  - A Job clones one commit, builds its Dockerfile and pushes the image; no Docker is needed anywhere.
  - The digest is what the builder says that it has pushed. It is kept in the ConfigMap C(bluegreen-images-<name>), so
    that the same commit is not built twice; to have it built again, remove its entry there.
  - A build that another run has begun is waited for. One that failed is tried anew, and its error has the end of its
    log.
  - Runs on the control node, whichever host the play is for; no host is connected to.
author:
  - bluegreen.cutover contributors (@bluegreen)
extends_documentation_fragment:
  - bluegreen.cutover.attributes
  - bluegreen.cutover.cluster
attributes:
  check_mode:
    support: full
    details: The Job is sent to the server for a dry run. There is no digest then, unless it was built before.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  namespace:
    description: Where the Job runs.
    type: str
    required: true
  name:
    description: What the image is called here, in the names of the Job and the ConfigMap.
    type: str
    required: true
  image:
    description: Where it is pushed, such as V(registry.example/nextstep/api), without a tag.
    type: str
    required: true
  repository:
    description: The Git repository, as V(https://git.example/nextstep.git). Without a user or a password.
    type: str
    required: true
  revision:
    description: The whole hash of the commit; a branch or a tag could move.
    type: str
    required: true
  path:
    description: The folder in the repository that is the context.
    type: str
    default: ''
  dockerfile:
    description: The Dockerfile in that folder.
    type: str
    default: Dockerfile
  arguments:
    description: Build arguments. They are in the Job and in the image's history, so none may be a secret.
    type: dict
    default: {}
  builder:
    description:
      - V(kaniko), or V(buildkit) without root, which is the one of the two that goes on being developed.
      - BuildKit needs a namespace that allows the unconfined profiles of seccomp and AppArmor, and nodes that allow
        user namespaces.
    type: str
    choices: [kaniko, buildkit]
    default: kaniko
  builder_image:
    description: The builder's own image; best by its digest, from a registry of yours.
    type: str
    default: ''
  push_secret:
    description: The Secret of the type C(kubernetes.io/dockerconfigjson) in the namespace, for the registry.
    type: str
    default: ''
  service_account:
    description: The account of the pod, where its registry knows it. Without it no account's token is in the pod.
    type: str
    default: ''
  resources:
    description: The C(requests) and C(limits) of the builder.
    type: dict
    default: {}
  timeout:
    description: Seconds that the build may take; then the cluster ends it.
    type: int
    default: 1800
  ttl:
    description: Seconds after its end when the cluster removes the Job.
    type: int
    default: 3600
"""

EXAMPLES = r"""
- name: Build the API
  bluegreen.cutover.k8s_build:
    namespace: blueocean-nextstep-dev
    name: nextstep-api
    image: registry.blueocean.example/nextstep/api
    repository: https://git.example/nextstep.git
    revision: 6f1c2a7d9be04c53a1f0d2e8b7c6a5948372615e
    path: apps/nextstep-api
    push_secret: registry
  register: api

- name: Refer to it by its digest
  ansible.builtin.debug:
    msg: "{{ api.reference }}"
"""

RETURN = r"""
reference:
  description: The image by its digest; null in check mode.
  type: str
  returned: success
  sample: registry.example/nextstep/api@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
digest:
  description: The digest alone; null in check mode.
  type: str
  returned: success
image:
  description: As O(image).
  type: str
  returned: success
tag:
  description: The image by the tag that it was pushed with, which is the beginning of O(revision).
  type: str
  returned: success
revision:
  description: As O(revision).
  type: str
  returned: success
job:
  description: Name of the Job.
  type: str
  returned: success
  sample: build-nextstep-api-3c0f9d21aa
seconds:
  description: How long it took; 0 when it was built before.
  type: float
  returned: success
reason:
  description: A stable word for the kind of failure; V(build) when the build failed.
  type: str
  returned: failure
  sample: build
evidence:
  description: What was seen when it failed; with RV(reason=build) C(job), C(log) and C(pods).
  type: dict
  returned: failure
"""
