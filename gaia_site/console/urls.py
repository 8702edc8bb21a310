"""The console's own addresses, besides those of each room's admin; they stand before Django's."""

from django.contrib import admin
from django.urls import path

from gaia_site.console.doctor import doctor_page, doctor_run
from gaia_site.console.palette import palette
from gaia_site.console.panic import lift
from gaia_site.console.password import own_password
from gaia_site.console.registry import keep_our_own
from gaia_site.console.schedules import register as register_schedules

keep_our_own()  # by now every app has registered its models, and no address was made of them yet
register_schedules()

app_name = "console"
urlpatterns = [
    path("doctor/", doctor_page, name="doctor"),
    path("doctor/run/<str:depth>/", doctor_run, name="doctor_run"),
    path("panic/lift/", lift, name="panic_lift"),
    path("palette/", admin.site.admin_view(palette), name="palette"),
    path("password_change/", admin.site.admin_view(own_password), name="password"),
]
