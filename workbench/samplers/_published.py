"""The settings that papers state, by name."""

from typing import ClassVar

from workbench._errors import unknown


class Published:
    """A kind of sampler or guidance lists its published settings in a literal `published = dict(name=dict(field=value))`."""

    published: ClassVar[dict] = {}

    @classmethod
    def named(cls, setting, **others):
        """The sampler with the published setting of that name, and other fields on top. Raises BadInput for no such."""
        if setting not in cls.published:
            raise unknown("setting", setting, list(cls.published), f"`{cls.__name__}.published`")
        return cls(**{**cls.published[setting], **others})
