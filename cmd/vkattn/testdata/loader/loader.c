// A Vulkan loader for tests, in front of the real one (REAL): its devices have cooperative matrices that they have not, and
// what the environment says happens in the driver.
//
//   TEST_QUERY      crash or hang, where the shapes of cooperative matrices are asked for; otherwise there is one
//   TEST_PIPELINES  crash, where a pipeline is made
//   TEST_DRIVER     amd: the device is an integrated GPU with AMD's own driver
//
// The structs are cut down to what is read or written of them.
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef void (*Function)(void);
typedef struct { uint32_t type; void *next; uint32_t words[8]; } Struct;
typedef struct { char name[256]; uint32_t version; } Extension;
typedef struct { uint32_t type; void *next; uint32_t flags, queue_count; void *queues; uint32_t layer_count; void *layers; uint32_t extension_count; const char **extensions; void *features; } DeviceInfo;

static const char matrix[] = "VK_KHR_cooperative_matrix";
static Function (*real_instance)(void *, const char *);
static Function (*real_device)(void *, const char *);
static void (*features)(void *, Struct *);
static void (*properties)(void *, Struct *);
static int32_t (*extensions)(void *, const char *, uint32_t *, Extension *);
static int32_t (*create)(void *, const DeviceInfo *, void *, void *);

static int set(const char *name, const char *value) {
  const char *v = getenv(name);
  return v && strcmp(v, value) == 0;
}

static void crash(void) { *(volatile int *)0 = 0; }

static void test_features(void *device, Struct *s) {
  features(device, s);
  for (; s; s = s->next)
    if (s->type == 1000506000) s->words[0] = 1;
}

static void test_properties(void *device, Struct *s) {
  properties(device, s);
  if (set("TEST_DRIVER", "amd")) {
    s->words[2] = 0x1002; // vendor
    s->words[4] = 1;      // integrated
  }
  for (s = s->next; s; s = s->next) {
    if (s->type == 1000506002) s->words[0] = 0x20; // in compute shaders
    if (s->type == 52 && set("TEST_DRIVER", "amd")) s->words[0] = 1;
  }
}

static int32_t test_extensions(void *device, const char *layer, uint32_t *n, Extension *list) {
  uint32_t room = *n;
  int32_t result = extensions(device, layer, n, list);
  if (layer) return result;
  if (list && *n < room) {
    memset(&list[*n], 0, sizeof *list);
    strcpy(list[*n].name, matrix);
  }
  *n += 1;
  return result;
}

static int32_t test_create(void *physical, const DeviceInfo *info, void *allocator, void *device) {
  DeviceInfo own = *info;
  const char *names[256];
  own.extensions = names;
  own.extension_count = 0;
  for (uint32_t i = 0; i < info->extension_count && i < 256; i++)
    if (strcmp(info->extensions[i], matrix)) names[own.extension_count++] = info->extensions[i];
  return create(physical, &own, allocator, device);
}

static int32_t test_shapes(void *device, uint32_t *n, uint32_t *list) {
  (void)device;
  *n = 1;
  if (!list) return 0;
  if (set("TEST_QUERY", "crash")) crash();
  if (set("TEST_QUERY", "hang")) for (;;) pause();
  const uint32_t shape[] = {16, 16, 16, 0, 0, 1, 1, 0, 3};
  memcpy(list + 4, shape, sizeof shape);
  return 0;
}

static int32_t test_pipelines(void) {
  crash();
  return -13;
}

static Function device_function(void *device, const char *name) {
  if (!strcmp(name, "vkCreateComputePipelines") && set("TEST_PIPELINES", "crash")) return (Function)test_pipelines;
  return real_device(device, name);
}

Function vkGetInstanceProcAddr(void *instance, const char *name) {
  if (!real_instance) real_instance = dlsym(dlopen(REAL, RTLD_NOW | RTLD_LOCAL), "vkGetInstanceProcAddr");
  Function real = real_instance(instance, name);
#define WRAP(vulkan, store, own) \
  if (!strcmp(name, vulkan)) return store = (void *)real, (Function)own;
  WRAP("vkGetPhysicalDeviceFeatures2", features, test_features)
  WRAP("vkGetPhysicalDeviceProperties2", properties, test_properties)
  WRAP("vkEnumerateDeviceExtensionProperties", extensions, test_extensions)
  WRAP("vkCreateDevice", create, test_create)
  WRAP("vkGetDeviceProcAddr", real_device, device_function)
  if (!strcmp(name, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR")) return (Function)test_shapes;
  return real;
}
