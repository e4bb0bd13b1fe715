/* Near neighbours among 64-bit hashes that are stored in the order of 16 of their bits.
 *
 * Two hashes that differ in at most 7 bits differ in at most one bit in at least one of their four
 * bands of 16 bits. So of the hashes stored in the order of one band, only those in 17 of its 65,536
 * buckets can be near by that band: the asked hash's own, and those one bit away. A pair that an
 * earlier band finds as well is left to that one, so that each is told once.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <stdlib.h>

enum { BAND_BITS = 16, BUCKETS = 1 << BAND_BITS };

/* The pairs found so far, two hashes each. */
typedef struct {
    uint64_t *pairs;
    size_t count, room;
} Found;

static int
tell(Found *found, uint64_t asked, uint64_t stored)
{
    if (found->count == found->room) {
        const size_t room = found->room ? 2 * found->room : 1024;
        uint64_t *pairs = realloc(found->pairs, room * 2 * sizeof *pairs);
        if (pairs == NULL)
            return 0;
        found->pairs = pairs;
        found->room = room;
    }
    found->pairs[2 * found->count] = asked;
    found->pairs[2 * found->count + 1] = stored;
    found->count++;
    return 1;
}

/* The hashes to compare with each bucket: those asked for there are `asked[order[i]]` for i from
 * `begins[bucket]` to `begins[bucket + 1]`. Bucket by bucket, memory is read in its order. */
typedef struct {
    uint32_t *begins, *order;
} Visits;

static uint32_t
bucket_of(uint64_t hash, int band, int flip)
{
    const uint32_t own = (uint32_t)(hash >> (BAND_BITS * band)) & (BUCKETS - 1);
    return flip < 0 ? own : own ^ (1u << flip);
}

static int
plan(Visits *visits, const uint64_t *asked, size_t count, int band)
{
    visits->begins = calloc(BUCKETS + 2, sizeof *visits->begins);
    visits->order = malloc((count * (BAND_BITS + 1) + 1) * sizeof *visits->order);
    if (visits->begins == NULL || visits->order == NULL)
        return 0;
    /* Counted two places on, so that filling them in leaves each begin where it belongs. */
    for (size_t i = 0; i < count; i++)
        for (int flip = -1; flip < BAND_BITS; flip++)
            visits->begins[bucket_of(asked[i], band, flip) + 2]++;
    for (uint32_t bucket = 2; bucket < BUCKETS + 2; bucket++)
        visits->begins[bucket] += visits->begins[bucket - 1];
    for (size_t i = 0; i < count; i++)
        for (int flip = -1; flip < BAND_BITS; flip++)
            visits->order[visits->begins[bucket_of(asked[i], band, flip) + 1]++] = (uint32_t)i;
    return 1;
}

#if defined(__GNUC__)
#define EVERYWHERE static inline __attribute__((always_inline))
#else
#define EVERYWHERE static inline
#endif

EVERYWHERE int
bits(uint64_t word)
{
#if defined(__GNUC__)
    return __builtin_popcountll(word);
#else
    word -= (word >> 1) & 0x5555555555555555u;
    word = (word & 0x3333333333333333u) + ((word >> 2) & 0x3333333333333333u);
    return (int)((((word + (word >> 4)) & 0x0f0f0f0f0f0f0f0fu) * 0x0101010101010101u) >> 56);
#endif
}

EVERYWHERE int
found_by_an_earlier_band(uint64_t difference, int band)
{
    for (int i = 0; i < band; i++)
        if (bits((difference >> (BAND_BITS * i)) & (BUCKETS - 1)) <= 1)
            return 1;
    return 0;
}

/* All near pairs by one band whose stored hash is in the buckets [first, last). */
EVERYWHERE int
compare(const uint64_t *stored, const uint32_t *starts, int band, const uint64_t *asked,
        const Visits *visits, uint32_t first, uint32_t last, int radius, Found *found)
{
    for (uint32_t bucket = first; bucket < last; bucket++)
        for (uint32_t i = visits->begins[bucket]; i < visits->begins[bucket + 1]; i++) {
            const uint64_t hash = asked[visits->order[i]];
            for (uint32_t at = starts[bucket]; at < starts[bucket + 1]; at++) {
                const uint64_t difference = hash ^ stored[at];
                if (bits(difference) <= radius && !found_by_an_earlier_band(difference, band)
                    && !tell(found, hash, stored[at]))
                    return 0;
            }
        }
    return 1;
}

static int
compare_anywhere(const uint64_t *stored, const uint32_t *starts, int band, const uint64_t *asked,
                 const Visits *visits, uint32_t first, uint32_t last, int radius, Found *found)
{
    return compare(stored, starts, band, asked, visits, first, last, radius, found);
}

#if defined(__GNUC__) && defined(__x86_64__)
/* The first x86-64 processors cannot count bits in one step, so compilers do not by themselves. */
__attribute__((target("popcnt"))) static int
compare_with_popcnt(const uint64_t *stored, const uint32_t *starts, int band,
                    const uint64_t *asked, const Visits *visits, uint32_t first, uint32_t last,
                    int radius, Found *found)
{
    return compare(stored, starts, band, asked, visits, first, last, radius, found);
}
#define COMPARE (__builtin_cpu_supports("popcnt") ? compare_with_popcnt : compare_anywhere)
#else
#define COMPARE compare_anywhere
#endif

static PyObject *
near(PyObject *module, PyObject *arguments)
{
    Py_buffer stored, starts, asked;
    int band, radius;
    unsigned int first, last;
    PyObject *result = NULL;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*y*iy*IIi:near", &stored, &starts, &band, &asked, &first,
                          &last, &radius))
        return NULL;
    const uint32_t *bounds = starts.buf;
    const Py_ssize_t count = stored.len / (Py_ssize_t)sizeof(uint64_t);
    int fits = starts.len == (BUCKETS + 1) * (Py_ssize_t)sizeof(uint32_t) && band >= 0 && band < 4
        && first <= last && last <= BUCKETS
        && asked.len / (Py_ssize_t)sizeof(uint64_t) < UINT32_MAX / (BAND_BITS + 1) && bounds[0] == 0 && bounds[BUCKETS] <= count;
    for (uint32_t i = first; fits && i < last; i++)
        fits = bounds[i] <= bounds[i + 1] && bounds[i + 1] <= count;
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "the buckets do not fit the hashes");
        goto done;
    }
    Found found = {NULL, 0, 0};
    Visits visits = {NULL, NULL};
    int enough;
    Py_BEGIN_ALLOW_THREADS
    enough = plan(&visits, asked.buf, (size_t)asked.len / sizeof(uint64_t), band)
        && COMPARE(stored.buf, bounds, band, asked.buf, &visits, first, last, radius, &found);
    Py_END_ALLOW_THREADS
    free(visits.begins);
    free(visits.order);
    if (enough)
        result = PyBytes_FromStringAndSize((const char *)found.pairs,
                                           (Py_ssize_t)(found.count * 2 * sizeof(uint64_t)));
    else
        PyErr_NoMemory();
    free(found.pairs);
done:
    PyBuffer_Release(&stored);
    PyBuffer_Release(&starts);
    PyBuffer_Release(&asked);
    return result;
}

static PyMethodDef methods[] = {
    {"near", near, METH_VARARGS, "Near pairs (asked, stored) by one band, as pairs of uint64."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_hamming", NULL, 0, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit__hamming(void)
{
    return PyModuleDef_Init(&definition);
}
