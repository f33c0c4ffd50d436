"""What pydantic finds wrong with the fields of an attribute, as our error."""

from pydantic import ValidationError

from s3pq_dagster.errors import ConfigurationError


def faults_of(attribute: str, error: ValidationError) -> ConfigurationError:
    """Name the fields and what is wrong with each; never a value, which may be a secret."""
    found = error.errors(include_input=False, include_url=False)
    told = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in found)
    return ConfigurationError(f"{attribute}: {told}")
