"""The formats of other frameworks: functions that save a dict of arrays and load it again."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


def total(arrays: Arrays) -> int:
    """Looks at every byte, as fast as memory."""
    found = 0
    for array in arrays.values():
        array = array.reshape(-1).view(np.uint8)
        found += int(array[: array.size // 8 * 8].view(np.uint64).sum())
    return found


def save_gguf(value: Arrays, path: str) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "bench")
    for name, array in value.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def load_gguf(path: str) -> Arrays:
    from gguf import GGUFReader

    return {tensor.name: np.array(tensor.data) for tensor in GGUFReader(path).tensors}


def open_gguf(path: str) -> list:
    from gguf import GGUFReader

    return [(tensor.name, tensor.tensor_type, tensor.shape) for tensor in GGUFReader(path).tensors]


def one_gguf(path: str, name: str) -> np.ndarray:
    from gguf import GGUFReader

    return next(np.array(tensor.data) for tensor in GGUFReader(path).tensors if tensor.name == name)


def touch_gguf(path: str) -> int:
    from gguf import GGUFReader

    return total({tensor.name: tensor.data for tensor in GGUFReader(path).tensors})


def save_arrow(value: Arrays, path: str) -> None:
    """A column a tensor, of one row; the shape is the column's metadata."""
    import pyarrow

    arrays = [pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(array.reshape(-1)), max(array.size, 1)) for array in value.values()]
    shapes = [{"shape": ",".join(map(str, array.shape))} for array in value.values()]
    fields = [pyarrow.field(name, array.type, metadata=shape) for name, array, shape in zip(value, arrays, shapes)]
    schema = pyarrow.schema(fields)
    with pyarrow.OSFile(path, "wb") as file, pyarrow.ipc.new_file(file, schema) as writer:
        writer.write_batch(pyarrow.record_batch(arrays, schema=schema))


def _arrow(path: str) -> tuple[Any, Any]:
    import pyarrow

    reader = pyarrow.ipc.open_file(pyarrow.memory_map(path))
    return reader, reader.schema


def load_arrow(path: str) -> Arrays:
    reader, schema = _arrow(path)
    batch = reader.get_batch(0)
    shape = lambda field: [int(n) for n in field.metadata[b"shape"].decode().split(",") if n]  # noqa: E731
    return {field.name: np.array(column.values).reshape(shape(field)) for field, column in zip(schema, batch.columns)}


def open_arrow(path: str) -> list:
    return [(field.name, field.type, field.metadata[b"shape"]) for field in _arrow(path)[1]]


def one_arrow(path: str, name: str) -> np.ndarray:
    return np.array(_arrow(path)[0].get_batch(0).column(name).values)


def touch_arrow(path: str) -> int:
    reader, schema = _arrow(path)
    return total({name: np.asarray(column.values) for name, column in zip(schema.names, reader.get_batch(0).columns)})


def save_hdf5(value: Arrays, path: str) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for name, array in value.items():
            file[name] = array


def load_hdf5(path: str) -> Arrays:
    import h5py

    with h5py.File(path, "r") as file:
        return {name: file[name][()] for name in file}


def open_hdf5(path: str) -> list:
    import h5py

    with h5py.File(path, "r") as file:
        return [(name, data.dtype, data.shape) for name, data in file.items()]


def one_hdf5(path: str, name: str) -> np.ndarray:
    import h5py

    with h5py.File(path, "r") as file:
        return file[name][()]


def rows_hdf5(path: str, name: str) -> np.ndarray:
    import h5py

    with h5py.File(path, "r") as file:
        return file[name][300:400]


def mxnet_arrays(value: Arrays) -> dict:
    import mxnet

    return {name: mxnet.nd.array(array, dtype=array.dtype) for name, array in value.items()}


def save_mxnet(value: dict, path: str) -> None:
    import mxnet

    mxnet.nd.save(path, value)
    mxnet.nd.waitall()


def load_mxnet(path: str) -> dict:
    import mxnet

    loaded = mxnet.nd.load(path)
    mxnet.nd.waitall()
    return loaded


def tensorflow_tensors(value: Arrays) -> dict:
    import tensorflow

    return {name: tensorflow.convert_to_tensor(array) for name, array in value.items()}


def save_bundle(value: dict, path: str) -> None:
    import tensorflow

    os.makedirs(path, exist_ok=True)
    names = list(value)
    tensorflow.raw_ops.SaveV2(
        prefix=os.path.join(path, "b"), tensor_names=names, shape_and_slices=[""] * len(names), tensors=list(value.values())
    )
    # What was written is a part; its name becomes the whole's.
    tensorflow.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=[os.path.join(path, "b")], destination_prefix=os.path.join(path, "bundle"))


def _bundle(path: str) -> tuple[str, list]:
    import tensorflow

    prefix = os.path.join(path, "bundle")
    return prefix, tensorflow.train.list_variables(prefix)


def load_bundle(path: str) -> dict:
    import tensorflow

    reader = tensorflow.train.load_checkpoint(os.path.join(path, "bundle"))
    types, names = reader.get_variable_to_dtype_map(), list(reader.get_variable_to_shape_map())
    prefix = os.path.join(path, "bundle")
    loaded = tensorflow.raw_ops.RestoreV2(
        prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names), dtypes=[types[name] for name in names]
    )
    return dict(zip(names, loaded))


def open_bundle(path: str) -> list:
    return _bundle(path)[1]


def one_bundle(path: str, name: str) -> np.ndarray:
    import tensorflow

    return tensorflow.train.load_checkpoint(os.path.join(path, "bundle")).get_tensor(name)
