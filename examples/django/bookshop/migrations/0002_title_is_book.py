from django.db import migrations, models


class Migration(migrations.Migration):
    """The code before it fails with this table, and the code after it with the former one: between the
    two no request may run."""

    dependencies = [("bookshop", "0001_initial")]
    operations = [
        migrations.RenameField("Order", "title", "book"),
        migrations.AddField("Order", "copies", models.IntegerField(default=1)),
    ]
