/* A driver that loads what it is told to and remembers the last launch, for tests without a GPU. */

#include <string.h>

void *context;
int refuse_load, refuse_launch, loads, attribute_value;
unsigned last_launch[4];
char last_argument[64];
void *last_stream;

int cuCtxGetCurrent(void **current) {
  *current = context;
  return 0;
}

int cuDeviceGet(int *device, int ordinal) {
  *device = ordinal + 40;
  return 0;
}

int cuDevicePrimaryCtxRetain(void **found, int device) {
  *found = (char *)0 + device;
  return 0;
}

int cuCtxSetCurrent(void *wanted) {
  context = wanted;
  return 0;
}

int cuModuleLoadData(void **module, const char *image) {
  ++loads;
  if (refuse_load) return refuse_load;
  if (!strcmp(image, "broken")) return 200;
  *module = (void *)0x10;
  return 0;
}

int cuModuleGetFunction(void **function, void *module, const char *name) {
  if (module != (void *)0x10 || strcmp(name, "kernel")) return 500;
  *function = (void *)0x20;
  return 0;
}

int cuFuncSetAttribute(void *function, int attribute, int value) {
  if (function != (void *)0x20 || attribute != 8) return 1;
  attribute_value = value;
  return 0;
}

int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, void *stream, void **parameters, void **extra) {
  if (function != (void *)0x20 || gy * gz * by * bz != 1 || extra) return 1;
  last_launch[0] = gx;
  last_launch[1] = bx;
  last_launch[2] = shared;
  last_stream = stream;
  memcpy(last_argument, parameters[0], 8);
  return refuse_launch;
}

int cuGetErrorName(int code, const char **name) {
  *name = code == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : code == 200 ? "CUDA_ERROR_INVALID_IMAGE" : 0;
  return *name ? 0 : 1;
}
