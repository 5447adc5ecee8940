from django.urls import path

from . import views

urlpatterns = [
    path("", views.hello),
    path("products", views.products),
    path("buy", views.buy),
    path("offers", views.offers),
    path("noisy", views.noisy),
    path("export", views.export),
    path("slow", views.slow),
]
