from rest_framework.pagination import PageNumberPagination as _PageNumberPagination


class PageNumberPagination(_PageNumberPagination):
    """Pages of 100, up to 1,000 by `?page_size=`."""

    page_size_query_param = "page_size"
    max_page_size = 1000
