from django.db import models


class Order(models.Model):
    book = models.CharField(max_length=100)
    copies = models.IntegerField(default=1)
