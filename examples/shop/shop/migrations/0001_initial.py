import django.db.models.deletion
from django.db import migrations, models

NAMES = ("kettle", "toaster", "lamp", "umbrella", "clock")


def stock_the_shop(apps, schema_editor):
    product = apps.get_model("shop", "Product")
    product.objects.bulk_create([product(name=name, stock=1_000_000) for name in NAMES])


class Migration(migrations.Migration):
    initial = True
    dependencies = ()
    operations = (
        migrations.CreateModel(
            name="Product",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=100)),
                ("stock", models.IntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name="Purchase",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("at", models.DateTimeField(auto_now_add=True)),
                (
                    "product",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, to="shop.product"
                    ),
                ),
            ],
        ),
        migrations.RunPython(stock_the_shop, migrations.RunPython.noop),
    )
