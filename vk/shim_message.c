//go:build cgo && !novulkan && (linux || windows)

// Messages of drivers and layers. They come on any thread, also while a Go caller is inside the driver, so they
// only go into a list here; Go takes them out after its calls.

#include <stdlib.h>
#include <string.h>

#include "shim_internal.h"
#include "shim_lock.h"

enum { LIMIT = 4096 }; // messages kept; what comes beyond that is dropped

struct vkattn_messages {
  Lock lock;
  vkattn_message *first, **last;
  uint32_t count;
};

vkattn_messages *vkattn_messages_create(void) {
  vkattn_messages *m = calloc(1, sizeof *m);
  if (m) {
    m->lock = (Lock)LOCK_INIT;
    m->last = &m->first;
  }
  return m;
}

static char *copy(const char *s) {
  if (!s) s = "";
  size_t n = strlen(s) + 1;
  char *c = malloc(n);
  if (c) memcpy(c, s, n);
  return c;
}

void vkattn_message_free(vkattn_message *m) {
  if (!m) return;
  free(m->id);
  free(m->text);
  free(m);
}

void vkattn_messages_free(vkattn_messages *m) {
  if (!m) return;
  for (vkattn_message *i = m->first, *next; i; i = next) {
    next = i->next;
    vkattn_message_free(i);
  }
  free(m);
}

static void push(vkattn_messages *m, uint32_t severity, const char *id, const char *text) {
  vkattn_message *i = calloc(1, sizeof *i);
  if (!i) return;
  i->severity = severity;
  i->id = copy(id);
  i->text = copy(text);
  lock(&m->lock);
  if (m->count < LIMIT && i->id && i->text) {
    *m->last = i;
    m->last = &i->next;
    __atomic_store_n(&m->count, m->count + 1, __ATOMIC_RELEASE);
    i = NULL;
  }
  unlock(&m->lock);
  vkattn_message_free(i);
}

Bool VKAPI vkattn_on_message(uint32_t severity, uint32_t types, const MessageData *data, void *messages) {
  (void)types;
  // The loader reports each driver and layer it finds under this name; only its warnings and errors matter.
  if (severity < 0x100 && data->id && strcmp(data->id, "Loader Message") == 0) return 0;
  push(messages, severity, data->id, data->text);
  return 0;
}

const uint32_t *vkattn_message_count(vkattn_instance *i) { return &i->messages->count; }

vkattn_message *vkattn_message_pop(vkattn_instance *i) {
  vkattn_messages *m = i->messages;
  lock(&m->lock);
  vkattn_message *first = m->first;
  if (first) {
    m->first = first->next;
    if (!m->first) m->last = &m->first;
    first->next = NULL;
    __atomic_store_n(&m->count, m->count - 1, __ATOMIC_RELEASE);
  }
  unlock(&m->lock);
  return first;
}

void vkattn_message_push(vkattn_instance *i, uint32_t severity, const char *id, const char *text) {
  push(i->messages, severity, id, text);
}
