from django.http import HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from bookshop.models import Order


@csrf_exempt
def orders(request):
    if request.method == "POST":
        Order.objects.create(book="The Sea, the Sea")
        return HttpResponse("ordered\n")
    return HttpResponse(f"{Order.objects.count()} orders\n")


urlpatterns = [path("orders", orders), path("healthz", lambda request: HttpResponse("ok\n"))]
