// A mutex, on both systems.
#ifndef VKATTN_SHIM_LOCK_H
#define VKATTN_SHIM_LOCK_H

#ifdef _WIN32
#include <windows.h>
typedef SRWLOCK Lock;
#define LOCK_INIT SRWLOCK_INIT
static inline void lock(Lock *l) { AcquireSRWLockExclusive(l); }
static inline void unlock(Lock *l) { ReleaseSRWLockExclusive(l); }
#else
#include <pthread.h>
typedef pthread_mutex_t Lock;
#define LOCK_INIT PTHREAD_MUTEX_INITIALIZER
static inline void lock(Lock *l) { pthread_mutex_lock(l); }
static inline void unlock(Lock *l) { pthread_mutex_unlock(l); }
#endif

#endif
