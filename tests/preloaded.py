"""What `tests.warm` has in memory before it forks: libraries that ask for no settings when they are imported."""

import argparse
import asyncio
import concurrent.futures
import difflib
import email.message
import importlib.metadata
import logging.config
import multiprocessing.queues
import multiprocessing.sharedctypes
import runpy
import socketserver
import sqlite3
import ssl
import tempfile
import tomllib
import urllib.request
import wsgiref.simple_server
import zoneinfo

import channels.apps
import click
import csp.checks
import django.contrib.admin
import django.core.management
import django.db.backends.sqlite3.base
import django.template.defaulttags
import django.test.client
import django_filters
import drf_spectacular.checks
import git
import psutil
import psycopg
import pydantic
import uvicorn.main
import uvicorn.protocols.http.auto
import uvicorn.protocols.websockets.auto
import whitenoise.base
import yaml

MODULES = (
    argparse, asyncio, channels.apps, click, concurrent.futures, csp.checks, difflib, django.contrib.admin,
    django.core.management, django.db.backends.sqlite3.base, django.template.defaulttags, django.test.client,
    django_filters,
    drf_spectacular.checks, email.message, git, importlib.metadata, logging.config, multiprocessing.queues,
    multiprocessing.sharedctypes, psutil, psycopg, pydantic, runpy, socketserver, sqlite3, ssl, tempfile, tomllib,
    urllib.request, uvicorn.main, uvicorn.protocols.http.auto, uvicorn.protocols.websockets.auto, whitenoise.base,
    wsgiref.simple_server, yaml, zoneinfo,
)  # fmt: skip

pydantic.create_model("Any")  # the first looks through all that is installed for plugins: 50 ms
