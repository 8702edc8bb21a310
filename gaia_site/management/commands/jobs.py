from __future__ import annotations

import os
from typing import Any

from django.db import connections
from django_q.management.commands import qcluster

from gaia_site import canary


class Command(qcluster.Command):
    help = "The job queue's workers, in the foreground: what the node daemon runs."
    requires_system_checks = ()  # the daemon that runs it was checked

    def handle(self, *args: Any, **options: Any) -> None:
        # Being stopped, the group gets TERM. qcluster's parent then ends the cluster in peace, but its children would
        # die of theirs in the middle of a job, and the parent wait for ever for the dead sentinel to wake up. So each
        # child leaves the group; they stay in the session, by which they are found when they have to be swept.
        os.register_at_fork(after_in_child=os.setpgrp)
        canary.tell_of_work()
        if canary.is_only_queue():
            canary.take_back()
            connections.close_all()  # the queue forks, and a connection is good for one process
        super().handle(*args, **options)
