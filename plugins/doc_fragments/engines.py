# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # The options of every module that works with an engine: one option for each engine, with the engine's own in it.
    DOCUMENTATION = r"""
options:
  files:
    description: File trees, by GNU tar and zstd, with owners, modes, links, ACLs and extended attributes.
    type: dict
    suboptions:
      paths:
        description:
          - Absolute paths of folders or files. None may be a link or a mount point.
          - Nothing in them may change while they are read; when something does, the snapshot fails.
        type: list
        elements: str
        required: true
  git:
    description: The commit of a git working tree, with annotated tags and a bundle of all its history.
    type: dict
    suboptions:
      repository:
        description:
          - Absolute path of the working tree. No tracked file may have changes that are not committed, or be in Git
            LFS; submodules are refused, too.
        type: path
        required: true
      tags:
        description:
          - The tags to make on its commit. No tag is moved. Where one is at another commit, here or at the remote, the
            new one has the time in its name, such as V(migration-start-point-20261121T194000Z).
        type: list
        elements: str
        default: [migration-start-point, migration-rollback-point]
      remote:
        description: Where the tags are pushed to; where there is no such remote they are not.
        type: str
        default: origin
  kubernetes:
    description:
      - The objects of a namespace of Kubernetes, of every kind that the server has, without status and what the server
        and its controllers set. What an owner makes, pods, jobs, events, leases, endpoints and tokens are left out.
      - It is proven by dry runs of the server, in a namespace of its own that is removed again.
      - A restore is tried as a whole first. It makes, changes and removes objects until they are as they were; claims
        of volumes are never changed nor removed.
      - Runs where the API can be reached, such as V(localhost), and needs the Python package C(kubernetes) there.
    type: dict
    suboptions:
      namespace:
        description: The namespace.
        type: str
        required: true
      secrets:
        description:
          - What is done with Secrets. They are never written in clear.
          - V(left_out) neither keeps nor restores them.
        type: str
        required: true
        choices: [encrypted, left_out]
      encryption:
        description: To whom Secrets are encrypted.
        type: dict
        suboptions:
          tool:
            description: What encrypts them; it must be installed on this host.
            type: str
            required: true
            choices: [age, gpg]
          recipient:
            description: The public key, or for V(gpg) what names one in the keyring; a path is a file with public keys.
            type: str
            required: true
          identity_file:
            description: A file of this host with the private key, without a passphrase; only a restore needs it.
            type: path
      leave_out:
        description: More kinds to leave out, such as V(certificates.cert-manager.io).
        type: list
        elements: str
        default: []
      kubeconfig:
        description: The kubeconfig on this host; without it E(KUBECONFIG), the pod's account, or C(~/.kube/config).
        type: path
      context:
        description: The context in it, when not its current one.
        type: str
  postgresql:
    description:
      - One PostgreSQL database, by the server's own C(pg_dump), with large objects, sequences, and all else in it.
        Roles are written, too, and are not restored.
      - A restore makes a new database, compares it with what was dumped, and then gives it the name of the one in use,
        which is kept under another name. Who is connected is sent away at that moment.
      - Needs C(psycopg2) on the host, and the tools of the server's major version. Version 13 is the oldest.
    type: dict
    suboptions:
      database:
        description: The name of the database.
        type: str
        required: true
      host:
        description:
          - The server's name or address, or the folder of its socket. Without it the usual socket is used.
          - The server itself, not a pooler before it.
        type: str
      port:
        description: The server's port.
        type: int
        default: 5432
      user:
        description:
          - The role to connect as. It must be able to read all of the database and, because a restore does that, to
            make databases and to rename this one. A snapshot is refused where it may not.
          - Over a socket and without a password, root connects by the account of this name.
        type: str
        default: postgres
      password_file:
        description: A file on the host that holds the role's password. Without it libpq looks where it always does.
        type: path
      ssl_mode:
        description: How the connection is encrypted, as libpq has it.
        type: str
        choices: [disable, allow, prefer, require, verify-ca, verify-full]
      ca_cert:
        description: The file with the certificates that the server's is checked against.
        type: path
      jobs:
        description:
          - How many sessions dump and restore at once; half as many digest meanwhile.
          - By default two, on a host with one processor one.
        type: int
      tools:
        description: The folder of C(pg_dump) and its like, where they are neither in the usual place nor in C(PATH).
        type: path
      scratch:
        description:
          - Where a snapshot is proven. V(server) is one of our own on this host, with a socket only and the lowest
            priority; V(database) is another database of the same server, which then writes as much WAL as a restore.
          - By default V(server) where the host has the server's programs, otherwise V(database).
        type: str
        choices: [server, database]
      scratch_directory:
        description: Where a server of our own has its files; it needs as much space as the database and a fifth more.
        type: path
        default: /var/tmp
  qdrant:
    description:
      - One collection of Qdrant, by its REST API. It is proven in another collection of the same server, which needs
        the room for both meanwhile.
      - A restore makes a new collection, compares it, and moves the alias to it; the one before is left.
    type: dict
    suboptions:
      url:
        description: Where the server is, with no user or password in it.
        type: str
        default: http://127.0.0.1:6333
      collection:
        description: The collection or, so that it can be restored, the alias that applications use.
        type: str
        required: true
      api_key_file:
        description: A file with the key; by default it is in the environment, as C(QDRANT_API_KEY), or there is none.
        type: path
      ca_path:
        description: A file with the certificates that are trusted, instead of the system's.
        type: path
  redis:
    description:
      - The keys of one prefix in Redis or Valkey, or a whole instance, with types and the times at which they expire.
        Version 7.0 is the oldest; a cluster, a sentinel and a replica are refused.
      - A prefix is read key by key, so writers should be held meanwhile. An instance is of one moment, by
        C(redis-cli --rdb).
      - It is proven in a server of our own, with a socket only, for which the host needs C(redis-server) and the
        memory.
      - A restore puts the keys beside those that are there, and then in their place, which takes about a second per
        million. Keys of the prefix that are not in the snapshot are removed; no key of another prefix is touched.
    type: dict
    suboptions:
      host:
        description: The server's name or address.
        type: str
        default: 127.0.0.1
      port:
        description: The server's port.
        type: int
        default: 6379
      socket:
        description: The path of the server's socket, instead of O(redis.host) and O(redis.port).
        type: path
      prefix:
        description:
          - What the keys begin with, ended by its separator, such as V(nextstep:prod:). Each character is itself.
          - Without it the whole instance is meant.
        type: str
      database:
        description: The number of the database that has the keys of the prefix.
        type: int
        default: 0
      username:
        description: The ACL user.
        type: str
      password_file:
        description:
          - A file with the password; by default it is in the environment, as C(REDISCLI_AUTH), or there is none.
        type: path
      tls:
        description: Whether the connection is encrypted.
        type: bool
        default: false
      tls_ca:
        description: A file with the certificates that are trusted, instead of the system's.
        type: path
      tls_certificate:
        description: A file with our own certificate, where the server asks for one.
        type: path
      tls_key:
        description: The file with its key.
        type: path
"""
