//go:build cgo && !novulkan && (linux || windows)

// The loader library and the instance.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shim_internal.h"
#include "shim_lock.h"

#ifdef _WIN32
#include <windows.h>
#else
#include <dlfcn.h>
#endif

void *vkattn_load(const char *library, char *error, int error_size) {
#ifdef _WIN32
  HMODULE lib = LoadLibraryA(library);
  if (!lib) {
    snprintf(error, error_size, "%s: error %lu", library, (unsigned long)GetLastError());
    return NULL;
  }
  void *p = (void *)GetProcAddress(lib, "vkGetInstanceProcAddr");
#else
  void *lib = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (!lib) {
    const char *why = dlerror();
    snprintf(error, error_size, "%s", why ? why : library);
    return NULL;
  }
  void *p = dlsym(lib, "vkGetInstanceProcAddr");
#endif
  if (!p) snprintf(error, error_size, "%s: no vkGetInstanceProcAddr in it", library);
  return p;
}

typedef int32_t(VKAPI *CreateInstance)(const InstanceCreateInfo *, const void *, Object *);
typedef int32_t(VKAPI *EnumerateVersion)(uint32_t *);
typedef int32_t(VKAPI *EnumerateExtensions)(const char *, uint32_t *, ExtensionProperties *);
typedef int32_t(VKAPI *EnumerateLayers)(uint32_t *, LayerProperties *);

static const char validation_layer[] = "VK_LAYER_KHRONOS_validation";

static int has_extension(EnumerateExtensions enumerate, const char *layer, const char *name) {
  uint32_t n = 0;
  if (!enumerate || enumerate(layer, &n, NULL) < 0 || n == 0) return 0;
  ExtensionProperties *list = calloc(n, sizeof *list);
  int found = 0;
  if (list && enumerate(layer, &n, list) >= 0)
    for (uint32_t i = 0; i < n; i++) found |= strcmp(list[i].name, name) == 0;
  free(list);
  return found;
}

static int has_layer(EnumerateLayers enumerate, const char *name) {
  uint32_t n = 0;
  if (!enumerate || enumerate(&n, NULL) < 0 || n == 0) return 0;
  LayerProperties *list = calloc(n, sizeof *list);
  int found = 0;
  if (list && enumerate(&n, list) >= 0)
    for (uint32_t i = 0; i < n; i++) found |= strcmp(list[i].name, name) == 0;
  free(list);
  return found;
}

vkattn_instance_made vkattn_instance_create(void *get_proc, const char *app, uint32_t validation, uint32_t messages) {
  vkattn_instance_made made = {-1, "calloc", NULL, 0, 0};
  vkattn_instance *t = calloc(1, sizeof *t);
  if (!t || !(t->messages = vkattn_messages_create())) goto fail;
  t->GetInstanceProcAddr = (Function(VKAPI *)(Object, const char *))get_proc;

  CreateInstance create = (CreateInstance)t->GetInstanceProcAddr(NULL, "vkCreateInstance");
  EnumerateVersion version = (EnumerateVersion)t->GetInstanceProcAddr(NULL, "vkEnumerateInstanceVersion");
  EnumerateExtensions extensions = (EnumerateExtensions)t->GetInstanceProcAddr(NULL, "vkEnumerateInstanceExtensionProperties");
  EnumerateLayers layers = (EnumerateLayers)t->GetInstanceProcAddr(NULL, "vkEnumerateInstanceLayerProperties");
  made.result = -3;
  made.call = "vkGetInstanceProcAddr";
  if (!create) goto fail;
  made.api = 1u << 22;
  if (version) version(&made.api);

  ApplicationInfo application = {TYPE_APPLICATION_INFO, NULL, app, 1, "vkattn", 1, version ? API_1_3 : 1u << 22};
  InstanceCreateInfo info = {TYPE_INSTANCE_CREATE_INFO, NULL, 0, &application, 0, NULL, 0, NULL};
  const char *layer_names[1], *extension_names[4];
  info.layers = layer_names;
  info.extensions = extension_names;
  if (has_extension(extensions, NULL, "VK_KHR_portability_enumeration")) {
    extension_names[info.extension_count++] = "VK_KHR_portability_enumeration";
    info.flags = 1; // VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR
  }

  static const uint32_t checks[] = {4, 0}; // synchronization, GPU assisted
  ValidationFeatures features = {TYPE_VALIDATION_FEATURES, NULL, 0, checks, 0, NULL};
  static const Bool yes = 1, no = 0;
  LayerSetting settings[3];
  LayerSettingsCreateInfo layer_settings = {TYPE_LAYER_SETTINGS_CREATE_INFO, NULL, 0, settings};
  if (validation) {
    if (!has_layer(layers, validation_layer)) {
      made.layer_missing = 1;
      made.result = -6;
      made.call = "vkEnumerateInstanceLayerProperties";
      goto fail;
    }
    layer_names[info.layer_count++] = validation_layer;
    if (validation & VKATTN_VALIDATE_SYNC) features.enabled_count = 1;
    if (validation & (VKATTN_VALIDATE_GPU | VKATTN_VALIDATE_RACES)) {
      features.enabled = checks + !features.enabled_count;
      features.enabled_count++;
    }
    if (features.enabled_count && has_extension(extensions, validation_layer, "VK_EXT_validation_features")) {
      extension_names[info.extension_count++] = "VK_EXT_validation_features";
      features.next = info.next;
      info.next = &features;
    }
    // Newer layers look at what shaders access only when told to.
    if (validation & VKATTN_VALIDATE_SYNC)
      settings[layer_settings.count++] = (LayerSetting){validation_layer, "syncval_shader_accesses_heuristic", 0, 1, &yes};
    if (validation & VKATTN_VALIDATE_RACES) {
      settings[layer_settings.count++] = (LayerSetting){validation_layer, "gpuav_shared_memory_data_race", 0, 1, &yes};
      if (!(validation & VKATTN_VALIDATE_GPU))
        settings[layer_settings.count++] = (LayerSetting){validation_layer, "gpuav_descriptor_checks", 0, 1, &no};
    }
    if (layer_settings.count && has_extension(extensions, validation_layer, "VK_EXT_layer_settings")) {
      extension_names[info.extension_count++] = "VK_EXT_layer_settings";
      layer_settings.next = info.next;
      info.next = &layer_settings;
    } else if (validation & VKATTN_VALIDATE_RACES) {
      made.layer_missing = 1;
      made.result = -7;
      made.call = "vkEnumerateInstanceExtensionProperties";
      goto fail;
    }
  }

  MessengerCreateInfo messenger = {TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO, NULL, 0, 0x1110, 0x7, vkattn_on_message, t->messages};
  int listen = (validation || messages) && (has_extension(extensions, NULL, "VK_EXT_debug_utils") ||
                                            (validation && has_extension(extensions, validation_layer, "VK_EXT_debug_utils")));
  if (listen) {
    extension_names[info.extension_count++] = "VK_EXT_debug_utils";
    messenger.next = info.next; // heard while the instance is being made and destroyed
    info.next = &messenger;
  }

  made.call = "vkCreateInstance";
  made.result = create(&info, NULL, &t->handle);
  if (made.result != 0) goto fail;
#define LOAD(result, name, arguments) t->name = (result(VKAPI *) arguments)t->GetInstanceProcAddr(t->handle, "vk" #name);
  INSTANCE_FUNCTIONS(LOAD)
  if (!listen) t->SetDebugUtilsObjectNameEXT = NULL;
  messenger.next = NULL;
  if (listen && t->CreateDebugUtilsMessengerEXT) t->CreateDebugUtilsMessengerEXT(t->handle, &messenger, NULL, &t->messenger);
  made.instance = t;
  return made;

fail:
  vkattn_instance_free(t);
  return made;
}

// With its last instance the loader unloads the drivers, and the next one loads them again. NVIDIA's (580.159,
// Linux) takes a piece of glibc's static TLS block each time and never gives it back: the 31st Open of a process
// found no driver. So before the first instance of a loader goes, a bare one is made that stays for the life of
// the process and keeps the drivers in place.
static void keep_drivers(vkattn_instance *t) {
  static Lock guard = LOCK_INIT;
  static struct { void *loader; Object instance; } kept[4];
  lock(&guard);
  for (int i = 0; i < 4; i++) {
    if (kept[i].loader == (void *)t->GetInstanceProcAddr) break;
    if (kept[i].loader) continue;
    CreateInstance create = (CreateInstance)t->GetInstanceProcAddr(NULL, "vkCreateInstance");
    InstanceCreateInfo info = {TYPE_INSTANCE_CREATE_INFO, NULL, 0, NULL, 0, NULL, 0, NULL};
    if (create(&info, NULL, &kept[i].instance) == 0) kept[i].loader = (void *)t->GetInstanceProcAddr;
    break;
  }
  unlock(&guard);
}

void vkattn_instance_destroy(vkattn_instance *t) {
  keep_drivers(t);
  if (t->messenger) t->DestroyDebugUtilsMessengerEXT(t->handle, t->messenger, NULL);
  t->messenger = 0;
  t->DestroyInstance(t->handle, NULL);
  t->handle = NULL;
}

void vkattn_instance_free(vkattn_instance *t) {
  if (!t) return;
  vkattn_messages_free(t->messages);
  free(t);
}

int32_t vkattn_physical_devices(vkattn_instance *t, uint64_t *out, uint32_t capacity) {
  Object list[64];
  uint32_t n = 64;
  int32_t result = t->EnumeratePhysicalDevices(t->handle, &n, list);
  if (result < 0) return result;
  for (uint32_t i = 0; i < n && i < capacity; i++) out[i] = (uint64_t)(uintptr_t)list[i];
  return (int32_t)n;
}
