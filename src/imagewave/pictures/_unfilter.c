/* Undoing PNG's row filters for 8-bit RGB: what a decoder does after inflating.
 *
 * Each sample was stored as its difference from a guess made of its left (a), upper (b) and upper
 * left (c) neighbours; PNG specification, third edition, section 9, names the five guesses. The
 * next pixel's guess waits for this pixel's value, so along a row there is nothing to vectorise,
 * and a core mostly waits. Eight rows, however, can be walked at once: row k one pixel behind row
 * k - 1, so that what row k finds above itself was computed the step before. Four rows fill one
 * 128-bit register, four bytes to a pixel, the fourth of no meaning; two registers hide each
 * other's latency. All five guesses are computed and a mask for each row keeps one, so it takes
 * the same time whatever the filters are.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { NONE, SUB, UP, AVERAGE, PAETH, FILTERS };

/* One row, one sample after another: for the rows left over, and for machines without SSE2. */
static void
undo_row(const uint8_t *filtered, int filter, const uint8_t *above, uint8_t *row, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        const int a = i < 3 ? 0 : row[i - 3];
        const int b = above == NULL ? 0 : above[i];
        const int c = i < 3 || above == NULL ? 0 : above[i - 3];
        int guess = 0;
        switch (filter) {
        case SUB: guess = a; break;
        case UP: guess = b; break;
        case AVERAGE: guess = (a + b) / 2; break;
        case PAETH: {
            const int pa = abs(b - c), pb = abs(a - c), pc = abs(a + b - 2 * c);
            guess = pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
        }
        }
        row[i] = (uint8_t)(filtered[i] + guess);
    }
}

#if defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>

enum { GROUP = 4, TOGETHER = 2 * GROUP };

/* Four rows in step: their left and upper neighbours, and which rows use which guess. */
typedef struct {
    __m128i left, above;
    __m128i sub, up, average, paeth;
} Rows;

static Rows
begin(const uint8_t *const *inputs)
{
    const __m128i filters =
        _mm_setr_epi32(inputs[0][-1], inputs[1][-1], inputs[2][-1], inputs[3][-1]);
    Rows rows;
    rows.left = rows.above = _mm_setzero_si128();
    rows.sub = _mm_cmpeq_epi32(filters, _mm_set1_epi32(SUB));
    rows.up = _mm_cmpeq_epi32(filters, _mm_set1_epi32(UP));
    rows.average = _mm_cmpeq_epi32(filters, _mm_set1_epi32(AVERAGE));
    rows.paeth = _mm_cmpeq_epi32(filters, _mm_set1_epi32(PAETH));
    return rows;
}

static inline __m128i
choose(__m128i mask, __m128i yes, __m128i no)
{
    return _mm_xor_si128(no, _mm_and_si128(mask, _mm_xor_si128(yes, no)));
}

/* One pixel of each of four rows. */
static inline void
advance(Rows *rows, __m128i filtered, __m128i above)
{
    const __m128i a = rows->left, b = above, c = rows->above;

    /* Paeth's distances in unsigned bytes: subtraction stops at 0, so |x - y| is one way or the
     * other. |a + b - 2c| is the sum of the others' where a and b lie on the same side of c, else
     * their difference; a sum above 255 may stop there, as it is compared with its parts alone. */
    const __m128i b_over = _mm_subs_epu8(b, c), b_under = _mm_subs_epu8(c, b);
    const __m128i a_over = _mm_subs_epu8(a, c), a_under = _mm_subs_epu8(c, a);
    const __m128i pa = _mm_or_si128(b_over, b_under), pb = _mm_or_si128(a_over, a_under);
    const __m128i opposed =
        _mm_or_si128(_mm_min_epu8(b_over, a_under), _mm_min_epu8(b_under, a_over));
    const __m128i pc = choose(
        _mm_cmpeq_epi8(opposed, _mm_setzero_si128()),
        _mm_adds_epu8(pa, pb),
        _mm_or_si128(_mm_subs_epu8(pa, pb), _mm_subs_epu8(pb, pa)));
    const __m128i nearest = _mm_min_epu8(pb, pc);
    const __m128i b_or_c = choose(_mm_cmpeq_epi8(nearest, pb), b, c);
    const __m128i paeth = choose(_mm_cmpeq_epi8(_mm_min_epu8(pa, nearest), pa), a, b_or_c);

    /* SSE2 rounds up, PNG rounds down. */
    const __m128i odd = _mm_and_si128(_mm_xor_si128(a, b), _mm_set1_epi8(1));
    const __m128i average = _mm_sub_epi8(_mm_avg_epu8(a, b), odd);

    const __m128i others = _mm_or_si128(
        _mm_or_si128(_mm_and_si128(a, rows->sub), _mm_and_si128(b, rows->up)),
        _mm_and_si128(average, rows->average));
    /* Paeth's guess is ready last, so it is added last. */
    rows->left = _mm_add_epi8(
        _mm_add_epi8(filtered, others), _mm_and_si128(paeth, rows->paeth));
    rows->above = above;
}

/* `above` of eight rows: below each is what it has just decoded; `first` is above the first. */
static inline void
advance_all(Rows *upper, Rows *lower, __m128i x_upper, __m128i x_lower, uint32_t first)
{
    const __m128i above_upper =
        _mm_or_si128(_mm_slli_si128(upper->left, 4), _mm_cvtsi32_si128((int)first));
    const __m128i above_lower =
        _mm_or_si128(_mm_slli_si128(lower->left, 4), _mm_srli_si128(upper->left, 12));
    advance(upper, x_upper, above_upper);
    advance(lower, x_lower, above_lower);
}

static inline uint32_t
load(const uint8_t *pixel)
{
    return pixel[0] | (uint32_t)pixel[1] << 8 | (uint32_t)pixel[2] << 16;
}

/* A pixel and the byte after it, which must be readable; twice as fast as three bytes. */
static inline uint32_t
load_wide(const uint8_t *pixel)
{
    uint32_t word;
    memcpy(&word, pixel, sizeof word);
    return word;
}

static inline void
store(uint8_t *pixel, uint32_t word)
{
    memcpy(pixel, &word, 2);
    pixel[2] = (uint8_t)(word >> 16);
}

static inline __m128i
load_four(const uint8_t *const *inputs, size_t offset)
{
    return _mm_unpacklo_epi64(
        _mm_unpacklo_epi32(
            _mm_cvtsi32_si128((int)load_wide(inputs[0] + offset)),
            _mm_cvtsi32_si128((int)load_wide(inputs[1] + offset - 3))),
        _mm_unpacklo_epi32(
            _mm_cvtsi32_si128((int)load_wide(inputs[2] + offset - 6)),
            _mm_cvtsi32_si128((int)load_wide(inputs[3] + offset - 9))));
}

static inline void
store_four(uint8_t *const *outputs, size_t offset, __m128i pixels)
{
    const __m128i high = _mm_unpackhi_epi64(pixels, pixels);
    store(outputs[0] + offset, (uint32_t)_mm_cvtsi128_si32(pixels));
    store(outputs[1] + offset - 3, (uint32_t)_mm_cvtsi128_si32(_mm_srli_si128(pixels, 4)));
    store(outputs[2] + offset - 6, (uint32_t)_mm_cvtsi128_si32(high));
    store(outputs[3] + offset - 9, (uint32_t)_mm_cvtsi128_si32(_mm_srli_si128(high, 4)));
}

static void
undo_together(const uint8_t *filtered, const uint8_t *above, uint8_t *pixels, size_t columns)
{
    const uint8_t *inputs[TOGETHER];
    uint8_t *outputs[TOGETHER];
    for (size_t k = 0; k < TOGETHER; k++) {
        inputs[k] = filtered + k * (3 * columns + 1) + 1;
        outputs[k] = pixels + k * 3 * columns;
    }
    Rows upper = begin(inputs), lower = begin(inputs + GROUP);

    for (size_t step = 0; step < columns + TOGETHER - 1;) {
        /* While all eight are inside their rows, none at its last pixel. */
        for (; above != NULL && step >= TOGETHER - 1 && step + 1 < columns; step++) {
            const size_t offset = 3 * step;
            advance_all(
                &upper,
                &lower,
                load_four(inputs, offset),
                load_four(inputs + GROUP, offset - 3 * GROUP),
                load_wide(above + offset));
            store_four(outputs, offset, upper.left);
            store_four(outputs + GROUP, offset - 3 * GROUP, lower.left);
        }
        /* At either end of the rows, and below no row: a row outside its pixels is left alone. */
        uint32_t words[TOGETHER] = {0};
        for (size_t k = 0; k < TOGETHER; k++)
            if (k <= step && step - k < columns)
                words[k] = load(inputs[k] + 3 * (step - k));
        advance_all(
            &upper,
            &lower,
            _mm_loadu_si128((const __m128i *)words),
            _mm_loadu_si128((const __m128i *)(words + GROUP)),
            above != NULL && step < columns ? load(above + 3 * step) : 0);
        _mm_storeu_si128((__m128i *)words, upper.left);
        _mm_storeu_si128((__m128i *)(words + GROUP), lower.left);
        for (size_t k = 0; k < TOGETHER; k++)
            if (k <= step && step - k < columns)
                store(outputs[k] + 3 * (step - k), words[k]);
        step++;
    }
}
#endif

static void
undo(const uint8_t *filtered, uint8_t *pixels, size_t rows, size_t columns)
{
    const size_t length = 3 * columns;
    size_t row = 0;
#if defined(__SSE2__) || defined(_M_X64)
    for (; row + TOGETHER <= rows; row += TOGETHER) {
        uint8_t *first = pixels + row * length;
        undo_together(filtered + row * (length + 1), row ? first - length : NULL, first, columns);
    }
#endif
    for (; row < rows; row++) {
        const uint8_t *in = filtered + row * (length + 1);
        uint8_t *out = pixels + row * length;
        undo_row(in + 1, in[0], row ? out - length : NULL, out, length);
    }
}

static PyObject *
unfilter(PyObject *module, PyObject *arguments)
{
    Py_buffer filtered, pixels;
    Py_ssize_t columns;
    PyObject *result = NULL;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*w*n:unfilter", &filtered, &pixels, &columns))
        return NULL;
    if (columns < 1 || columns > PY_SSIZE_T_MAX / 4 || filtered.len % (3 * columns + 1) != 0
        || pixels.len != filtered.len / (3 * columns + 1) * 3 * columns) {
        PyErr_SetString(PyExc_ValueError, "the buffers do not fit the number of columns");
        goto done;
    }
    for (Py_ssize_t at = 0; at < filtered.len; at += 3 * columns + 1)
        if (((const uint8_t *)filtered.buf)[at] >= FILTERS) {
            PyErr_SetString(PyExc_ValueError, "a row has a filter that PNG does not know");
            goto done;
        }
    Py_BEGIN_ALLOW_THREADS
    undo(filtered.buf, pixels.buf, (size_t)(filtered.len / (3 * columns + 1)), (size_t)columns);
    Py_END_ALLOW_THREADS
    result = Py_NewRef(Py_None);
done:
    PyBuffer_Release(&filtered);
    PyBuffer_Release(&pixels);
    return result;
}

static PyMethodDef methods[] = {
    {"unfilter", unfilter, METH_VARARGS, "Undo the row filters of an 8-bit RGB PNG."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_unfilter", NULL, 0, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit__unfilter(void)
{
    return PyModuleDef_Init(&definition);
}
