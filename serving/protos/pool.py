"""The descriptor pool that holds this package's messages apart from those of TensorFlow."""

from google.protobuf import any_pb2, descriptor_pool, wrappers_pb2

POOL = descriptor_pool.DescriptorPool()

# A pool is closed in itself: what our files import has to be in it too. So a field of type Int64Value holds the class
# of this pool: set it through its own fields, or from a dict (`ModelSpec(version={"value": 3})`).
for _well_known in (any_pb2, wrappers_pb2):
    POOL.AddSerializedFile(_well_known.DESCRIPTOR.serialized_pb)
