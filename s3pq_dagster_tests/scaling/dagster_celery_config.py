"""How the run and the workers find each other: by an SQLite file, where others have a broker.

Celery's workers for Dagster read a module of this name, if it can be imported. Kombu's transport
by plain files would need nothing either, but it loses messages: a reader may take a file between
the writer's opening it and its writing.
"""

import os

broker_url = os.environ["SCALING_BROKER"]
result_backend = os.environ["SCALING_RESULTS"]
worker_prefetch_multiplier = 1
"""A worker has one step in hand besides its own: what it has in hand when it dies is lost."""
