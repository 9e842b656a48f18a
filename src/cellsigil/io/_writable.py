"""What AnnData's writers refuse, found before anything is written, each with its key and a way out."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype

from cellsigil._files import hdf5_names


def complaints(adata: ad.AnnData) -> Iterator[str]:
    """Yield a sentence for everything in ``adata`` that can't be stored."""
    yield from _of_table(adata.obs, "obs", names="obs_names")
    yield from _of_table(adata.var, "var", names="var_names")
    if adata.raw is not None:
        yield from _of_table(adata.raw.var, "raw.var", names="raw.var_names")
    for place in ("layers", "obsm", "varm", "obsp", "varp"):
        mapping = getattr(adata, place)
        keys = [key for key in mapping if key is not None]  # anndata 0.13 lists X as layer None
        yield from _of_keys(keys, f"adata.{place}", _rename_key(place))
        for key in keys:
            yield from _of_array(mapping[key], f"{place}[{key!r}]")
    yield from _of_uns(adata.uns, "uns")


def _rename_key(place: str) -> Callable[[Any, str], str]:
    return lambda key, new: f"adata.{place}[{new!r}] = adata.{place}.pop({key!r})"


def _of_keys(keys: Iterable[Any], place: str, fix: Callable[[Any, str], str]) -> Iterator[str]:
    keys = list(keys)
    safe = hdf5_names(str(key) for key in keys)
    for key in keys:
        new = safe[str(key)]
        if not isinstance(key, str):
            found = f"has the key {key!r}, which is {type(key).__name__} and no text"
        elif "/" in key:
            found = f"has the key {key!r}, and a key may hold no '/' (values may)"
        elif key in ("", ".", "_index"):
            found, new = f"has the key {key!r}, which can't be stored", f"{key.strip('._')}_key"
        else:
            continue
        yield f"{place} {found}. Rename it: {fix(key, new)}."


def _of_table(table: pd.DataFrame, place: str, *, names: str | None = None) -> Iterator[str]:
    def rename(key: Any, new: str) -> str:
        return f"adata.{place}.rename(columns={{{key!r}: {new!r}}}, inplace=True)"

    yield from _of_keys(table.columns, f"adata.{place}", rename)
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        yield f"adata.{place} has two columns named {twice[0]!r}. Rename or drop one."
    if names is not None and not _all_text(table.index):
        k = next(i for i, name in enumerate(table.index) if not isinstance(name, str))
        yield (
            f"adata.{names} holds {table.index[k]!r} at place {k}, which is no text. "
            f"Set every name: adata.{names} = [...]."
        )
    name = table.index.name
    if name in table.columns and not (table.index == table[name]).all():
        yield (
            f"The index of adata.{place} is named {name!r} like a column with other values. "
            f"Set adata.{place}.index.name = None."
        )
    for k, key in enumerate(table.columns):
        yield from _of_column(table.iloc[:, k], f"{place}[{key!r}]")


def _all_text(index: pd.Index) -> bool:
    """Say whether every name is text; pandas knows it of most, one by one took 0.1 s for 50,000 names."""
    if index.inferred_type == "string" and not index.hasnans:
        return True
    return all(isinstance(name, str) for name in index)


def _of_column(column: pd.Series, place: str) -> Iterator[str]:
    if getattr(column.dtype, "kind", "O") in "biuf" and isinstance(column.dtype, np.dtype):
        return
    if isinstance(column.dtype, pd.CategoricalDtype):
        if infer_dtype(column.cat.categories, skipna=False) == "string":
            return  # a trial would take 8 ms a column
        few = pd.Series(pd.Categorical(column.cat.categories, column.cat.categories))
        fix = f"adata.{place} = adata.{place}.cat.rename_categories(str)"
    elif infer_dtype(column, skipna=True) == "string":
        return
    else:
        try:
            few = column.drop_duplicates()
        except TypeError:  # lists and the like can't be hashed
            few = column
        fix = f"adata.{place} = adata.{place}.astype(str)"
    if _refused(pd.DataFrame({"column": few.to_numpy() if few.dtype == object else few.array})):
        held = few.array.categories if hasattr(few.array, "categories") else few
        kinds = sorted({type(value).__name__ for value in held if value is not None})
        yield _said_of(place, kinds, fix)


def _said_of(place: str, kinds: list[str], fix: str) -> str:
    here = f"adata.{place}"
    if not kinds:
        return f"{place} holds nothing but None. Drop it: del {here}."
    if kinds == ["bool"]:
        return (
            f"{place} holds bool as Python objects. Make them plain: {here} = {here}.astype(bool)."
        )
    if set(kinds) <= {"int", "float"}:
        return f"{place} holds numbers as Python objects. Make them plain: {here} = pandas.to_numeric({here})."
    return f"{place} holds values of type {', '.join(kinds)}, which can't be stored. Make them text: {fix}."


def _of_array(value: Any, place: str) -> Iterator[str]:
    if isinstance(value, pd.DataFrame):
        yield from _of_table(value, place)
    elif getattr(getattr(value, "dtype", None), "kind", "") == "O" and _refused(np.asarray(value)):
        yield f"{place} is an array of Python objects, which can't be stored. Make it numbers or text."


def _of_uns(mapping: Mapping[Any, Any], place: str) -> Iterator[str]:
    yield from _of_keys(
        mapping, f"adata.{place}", lambda key, new: f"adata.{place}[{new!r}] = adata.{place}.pop({key!r})"
    )  # fmt: skip
    for key, value in mapping.items():
        here = f"{place}[{key!r}]"
        if isinstance(value, Mapping):
            yield from _of_uns(value, here)
        elif isinstance(value, pd.DataFrame):
            yield from _of_table(value, here)
        elif not _surely_fine(value) and _refused(value):
            yield f"{here} is {_a(value)}, which can't be stored. {_way_out(value, here)}"


def _surely_fine(value: Any) -> bool:
    if isinstance(value, str | bool | int | float | np.number | np.bool_):
        return True
    return isinstance(value, np.ndarray) and value.dtype.kind in "biufU" and value.ndim > 0


def _a(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _way_out(value: Any, place: str) -> str:
    if isinstance(value, tuple | set | frozenset) and not _refused(list(value)):
        return f"Make it a list: adata.{place} = list(adata.{place})."
    if isinstance(value, list | tuple | set | frozenset):
        return f"Store it as text: adata.{place} = json.dumps(adata.{place})."
    return f"Store it as text: adata.{place} = str(adata.{place}); or drop it: del adata.{place}."


def _refused(value: Any) -> bool:
    """Try to write a small value into a file in memory: what the installed anndata really takes."""
    with (
        warnings.catch_warnings(action="ignore"),
        ad.settings.override(allow_write_nullable_strings=True),
        h5py.File(uuid.uuid4().hex, "w", driver="core", backing_store=False) as file,
    ):
        try:
            ad.io.write_elem(file, "value", value)
        except Exception:
            return True
    return False
