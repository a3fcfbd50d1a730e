"""What every section of the settings is made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Count = Annotated[int, Field(gt=0)]
EthereumAddress = Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{40}$")]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
