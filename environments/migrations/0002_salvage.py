from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('environments', '0001_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='environment',
            name='salvage',
            field=models.JSONField(blank=True, help_text='Where its work was brought before its removal', null=True),
        ),
    ]
