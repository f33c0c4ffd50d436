"""How the run and the workers find each other: by files, where others have a message broker.

Celery's workers for Dagster read a module of this name, if it can be imported.
"""

import os

_FOLDER = os.environ["SCALING_BROKER"]

broker_url = "filesystem://"
broker_transport_options = {"data_folder_in": _FOLDER, "data_folder_out": _FOLDER}
result_backend = f"file://{_FOLDER}"
