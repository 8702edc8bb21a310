"""What git last said is a state; snapshots are what a verb takes before it could lose work."""

from typing import ClassVar

from django.db import migrations


class Migration(migrations.Migration):
    dependencies: ClassVar = [("environments", "0002_salvage")]
    operations: ClassVar = [migrations.RenameModel("GitSnapshot", "GitState")]
