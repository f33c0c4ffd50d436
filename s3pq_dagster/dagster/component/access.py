"""The attribute `s3`: access to the bucket, as a `dagster_aws.s3.S3Resource`."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from pydantic import ValidationError

from s3pq_dagster.dagster.component.faults import faults_of
from s3pq_dagster.dagster.component.templates import rendered, variable
from s3pq_dagster.errors import ConfigurationError

FIELDS = {
    "aws_access_key_id": "The key's id.",
    "aws_secret_access_key": 'The key, as a variable: `"{{ env.AWS_SECRET }}"`.',
    "aws_session_token": "A session's token, as a variable.",
    "profile_name": "A named profile of the AWS configuration files.",
    "use_unsigned_session": "Whether a public bucket is read without credentials.",
}
"""What of an ``S3Resource`` is used, and what it says."""
_SECRETS = ("aws_secret_access_key", "aws_session_token")
_ELSEWHERE = {"region_name": "region", "endpoint_url": "endpoint_url"}
"""Fields of an ``S3Resource`` that are attributes of the component."""
# Without `additionalProperties`: a mistake would be shown with its lines of the file, secrets too.
SCHEMA = {
    "if": {"type": "object"},
    "then": {"properties": {name: {"description": said} for name, said in FIELDS.items()}},
}


def resolve_s3(context: dg.ResolutionContext, given: Any) -> Any:
    """Render what the attribute has; a text that is one variable stays a reference to it.

    What is wrong with it is told by :func:`s3_resource`, when the definitions are built: an error
    from here is shown with the lines of the file around it.
    """
    if not isinstance(given, Mapping):
        return rendered(context, given)
    return {name: _value(context.at_path(name), name, value) for name, value in given.items()}


def _value(context: dg.ResolutionContext, field: str, given: Any) -> Any:
    name = variable(given)
    is_text = field != "use_unsigned_session"
    return dg.EnvVar(name) if name is not None and is_text else rendered(context, given)


def s3_resource(given: Any) -> Any:
    """Build the resource of which the attribute has fields; another value stays what it is.

    Raises:
        ConfigurationError: A field is unknown or cannot have its value, a secret is no variable, or
            a variable is not set.
    """
    if not isinstance(given, Mapping):
        return _checked_object(given)
    for name, value in given.items():
        _check(str(name), value)
    # It takes long to import, and few need it.
    from dagster_aws.s3 import S3Resource  # noqa: PLC0415

    try:
        return S3Resource(**given)
    except ValidationError as error:
        raise faults_of("s3", error) from None


def _checked_object(given: Any) -> Any:
    if isinstance(given, str):
        msg = (
            "s3 is text: give the fields of an S3Resource, or a template that stands for one, as "
            "\"{{ context.build_defs('resources.py').resources['s3'] }}\""
        )
        raise ConfigurationError(msg)
    return given  # what it is, the source checks


def _check(name: str, value: Any) -> None:
    if name in _ELSEWHERE:
        msg = f"s3: {name} is not used: it is the attribute {_ELSEWHERE[name]!r} of the component"
        raise ConfigurationError(msg)
    if name not in FIELDS:
        raise ConfigurationError(f"s3: {name} is not used; it takes {', '.join(FIELDS)}")
    if isinstance(value, dg.EnvVar):
        if value.get_value() is None:
            msg = f"s3: {name}: the environment variable {value.env_var_name} is not set"
            raise ConfigurationError(msg)
    elif name in _SECRETS and value is not None:
        msg = (
            f's3: {name} is written out: write a variable, as in "{{{{ env.{name.upper()} }}}}", '
            f"so that whoever sees the definitions does not see it"
        )
        raise ConfigurationError(msg)
