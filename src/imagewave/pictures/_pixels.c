/* Passes over a picture's pixels: made smaller, made gray, and what statistics need of them.
 *
 * Each is what `pixels.py` says in Python and OpenCV, to the last bit, and takes half of the time or
 * less: mostly because a call of a library that lay idle while a picture was decoded costs more than
 * its work. It is for processors with AVX2; on others importing it fails.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if defined(__GNUC__) && defined(__x86_64__)

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#define AVX2 __attribute__((target("avx2")))

enum { LEVELS = 256, WHITE = 255, RGB = 3 };

/* ---- RGB at half its size: each pixel the mean of a square of four ---- */

enum { HALVED = 4 };

/* Sums of neighbours: two pixels of 3 bytes to 3 sums, four times (two in each half). */
AVX2 static inline __m256i
add_neighbours(const uint8_t *pixels)
{
    const __m256i order = _mm256_setr_epi8(
        0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11, -1, -1, -1, -1,
        0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11, -1, -1, -1, -1);
    const __m256i both = _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)pixels)),
        _mm_loadu_si128((const __m128i *)(pixels + HALVED * RGB)), 1);
    return _mm256_maddubs_epi16(_mm256_shuffle_epi8(both, order), _mm256_set1_epi8(1));
}

AVX2 static void
halve_rows(const uint8_t *upper, const uint8_t *lower, uint8_t *out, size_t columns)
{
    size_t x = 0;
    /* 28 bytes are read for 24, and 14 are written for 12. */
    for (; x + HALVED < columns; x += HALVED) {
        const size_t at = 2 * RGB * x;
        const __m256i sum = _mm256_add_epi16(add_neighbours(upper + at), add_neighbours(lower + at));
        const __m256i mean = _mm256_srli_epi16(_mm256_add_epi16(sum, _mm256_set1_epi16(2)), 2);
        const __m256i bytes = _mm256_packus_epi16(mean, mean);
        _mm_storel_epi64((__m128i *)(out + RGB * x), _mm256_castsi256_si128(bytes));
        _mm_storel_epi64((__m128i *)(out + RGB * (x + 2)), _mm256_extracti128_si256(bytes, 1));
    }
    for (; x < columns; x++)
        for (size_t c = 0; c < RGB; c++) {
            const size_t at = 2 * RGB * x + c;
            out[RGB * x + c] = (uint8_t)(
                (upper[at] + upper[at + RGB] + lower[at] + lower[at + RGB] + 2) >> 2);
        }
}

/* ---- Luma, Rec. 601, in fractions of 2^15 as OpenCV has them ---- */

enum { RED = 9798, GREEN = 19235, BLUE = 3735, LUMA_SHIFT = 15, GRAYED = 8 };

/* Four pixels in the lower half and four in the upper one, as 32-bit luma. */
AVX2 static inline __m256i
weigh(const uint8_t *pixels)
{
    const __m256i red_green = _mm256_setr_epi8(
        0, -1, 1, -1, 3, -1, 4, -1, 6, -1, 7, -1, 9, -1, 10, -1,
        0, -1, 1, -1, 3, -1, 4, -1, 6, -1, 7, -1, 9, -1, 10, -1);
    const __m256i blue = _mm256_setr_epi8(
        2, -1, -1, -1, 5, -1, -1, -1, 8, -1, -1, -1, 11, -1, -1, -1,
        2, -1, -1, -1, 5, -1, -1, -1, 8, -1, -1, -1, 11, -1, -1, -1);
    const __m256i eight = _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)pixels)),
        _mm_loadu_si128((const __m128i *)(pixels + GRAYED / 2 * RGB)), 1);
    const __m256i sum = _mm256_add_epi32(
        _mm256_madd_epi16(_mm256_shuffle_epi8(eight, red_green),
                          _mm256_set1_epi32(RED | GREEN << 16)),
        _mm256_madd_epi16(_mm256_shuffle_epi8(eight, blue), _mm256_set1_epi32(BLUE)));
    return _mm256_srli_epi32(
        _mm256_add_epi32(sum, _mm256_set1_epi32(1 << (LUMA_SHIFT - 1))), LUMA_SHIFT);
}

AVX2 static void
make_gray(const uint8_t *pixels, uint8_t *gray, size_t count)
{
    const __m256i low_bytes = _mm256_setr_epi8(
        0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
        -1, -1, -1, -1, 0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1);
    size_t i = 0;
    /* 28 bytes are read for 24. */
    for (; i + GRAYED + 1 < count; i += GRAYED) {
        const __m256i bytes = _mm256_shuffle_epi8(weigh(pixels + RGB * i), low_bytes);
        _mm_storel_epi64(
            (__m128i *)(gray + i),
            _mm_or_si128(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1)));
    }
    for (; i < count; i++) {
        const uint8_t *pixel = pixels + RGB * i;
        gray[i] = (uint8_t)(
            (pixel[0] * RED + pixel[1] * GREEN + pixel[2] * BLUE + (1 << (LUMA_SHIFT - 1)))
            >> LUMA_SHIFT);
    }
}

/* ---- Histograms ---- */

static void
count_tones(const uint8_t *gray, size_t rows, size_t columns, size_t step, uint32_t *counts)
{
    /* Four tables: one alone would wait for itself wherever neighbours are of one tone. */
    uint32_t tables[4][LEVELS] = {{0}};
    for (size_t row = 0; row < rows; row += step) {
        const uint8_t *line = gray + row * columns;
        size_t x = 0;
        for (; x + 4 <= columns; x += 4) {
            tables[0][line[x]]++;
            tables[1][line[x + 1]]++;
            tables[2][line[x + 2]]++;
            tables[3][line[x + 3]]++;
        }
        for (; x < columns; x++)
            tables[0][line[x]]++;
    }
    for (int level = 0; level < LEVELS; level++)
        counts[level] =
            tables[0][level] + tables[1][level] + tables[2][level] + tables[3][level];
}

/* The first level at which so many are counted, all below it included. */
static int
level_of(const uint32_t *counts, double wanted)
{
    uint64_t below = 0;
    int level = 0;
    while (level < LEVELS - 1 && (double)(below += counts[level]) < wanted)
        level++;
    return level;
}

/* HSV's saturation, 0 to 255, of the pixels whose value is above `dark`; returns how many are. */
static uint32_t
count_saturations(const uint8_t *pixels, size_t count, int dark, uint32_t *counts)
{
    enum { SHIFT = 12 };
    int32_t scales[LEVELS] = {0};
    uint32_t lit = 0;
    for (int value = 1; value < LEVELS; value++)
        scales[value] = ((WHITE << SHIFT) + value / 2) / value;
    memset(counts, 0, LEVELS * sizeof *counts);
    for (size_t i = 0; i < count; i++, pixels += RGB) {
        const int red = pixels[0], green = pixels[1], blue = pixels[2];
        int most = red > green ? red : green, least = red > green ? green : red;
        most = blue > most ? blue : most;
        least = blue < least ? blue : least;
        const int saturation = ((most - least) * scales[most] + (1 << (SHIFT - 1))) >> SHIFT;
        counts[saturation] += most > dark;
        lit += most > dark;
    }
    return lit;
}

/* ---- The squares of differences between neighbours ---- */

enum { SUMMED = 16, FARTHEST = 2, NEIGHBOURS = 8 };

/* More columns could overflow a row's sums of 32 bits: each adds at most 2 * 255^2 to one of 8. */
enum { MOST_COLUMNS = 1 << 17 };

/* How far up and to the left each neighbour is: next to a pixel, and next but one. */
static const Py_ssize_t UP[NEIGHBOURS] = {1, 2, 0, 0, 1, 2, 1, 2};
static const Py_ssize_t LEFT[NEIGHBOURS] = {0, 0, 1, 2, 1, 2, -1, -2};

/* 16 pixels whose neighbours are all there; only those that `mask` sets count. */
AVX2 static inline void
add_squares(const uint8_t *pixels, Py_ssize_t columns, __m256i mask, __m256i *sums)
{
    const __m256i here = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)pixels));
#pragma GCC unroll 8
    for (int i = 0; i < NEIGHBOURS; i++) {
        const uint8_t *neighbours = pixels - UP[i] * columns - LEFT[i];
        const __m256i there = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)neighbours));
        const __m256i difference = _mm256_and_si256(_mm256_sub_epi16(here, there), mask);
        sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(difference, difference));
    }
}

/* A row, but for two pixels at either end; it has at least 20, and two rows above it. */
AVX2 static void
add_squares_inside(const uint8_t *row, size_t columns, uint64_t *totals)
{
    const size_t end = columns - FARTHEST;
    __m256i sums[NEIGHBOURS];
    for (int i = 0; i < NEIGHBOURS; i++)
        sums[i] = _mm256_setzero_si256();
    size_t x = FARTHEST;
    for (; x + SUMMED <= end; x += SUMMED)
        add_squares(row + x, (Py_ssize_t)columns, _mm256_set1_epi8(-1), sums);
    /* The last 16, of which some were counted already. */
    const __m256i places =
        _mm256_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m256i counted = _mm256_set1_epi16((short)(SUMMED - 1 - (end - x)));
    add_squares(
        row + end - SUMMED, (Py_ssize_t)columns, _mm256_cmpgt_epi16(places, counted), sums);
    for (int i = 0; i < NEIGHBOURS; i++) {
        uint32_t parts[8];
        _mm256_storeu_si256((__m256i *)parts, sums[i]);
        for (int part = 0; part < 8; part++)
            totals[i] += parts[part];
    }
}

static void
add_squares_of(const uint8_t *row, size_t number, size_t x, size_t columns, uint64_t *totals)
{
    for (int i = 0; i < NEIGHBOURS; i++) {
        const Py_ssize_t other = (Py_ssize_t)x - LEFT[i];
        if (UP[i] > (Py_ssize_t)number || other < 0 || other >= (Py_ssize_t)columns)
            continue;
        const int difference = row[x] - row[other - UP[i] * (Py_ssize_t)columns];
        totals[i] += (uint64_t)(difference * difference);
    }
}

static void
sum_squares(const uint8_t *gray, size_t rows, size_t columns, uint64_t *totals)
{
    for (size_t number = 0; number < rows; number++) {
        const uint8_t *row = gray + number * columns;
        size_t inside = 0, after = 0;
        if (number >= FARTHEST && columns >= SUMMED + 2 * FARTHEST && columns < MOST_COLUMNS) {
            add_squares_inside(row, columns, totals);
            inside = FARTHEST;
            after = columns - FARTHEST;
        }
        for (size_t x = 0; x < inside; x++)
            add_squares_of(row, number, x, columns, totals);
        for (size_t x = after; x < columns; x++)
            add_squares_of(row, number, x, columns, totals);
    }
}

/* ---- The range of tones along an edge ---- */

static int
range_of(const uint8_t *gray, size_t count, size_t stride)
{
    uint8_t least = WHITE, most = 0;
    for (size_t i = 0; i < count; i++) {
        const uint8_t tone = gray[i * stride];
        least = tone < least ? tone : least;
        most = tone > most ? tone : most;
    }
    return most - least;
}

/* ---- A gray picture in eight by eight coefficients ---- */

enum { SIDE = 8 };

/* Rows and columns are eight whole weights for each of the picture's. Sums across fit 31 bits, and
 * doubles hold all others exactly: so it does not matter in which order they are added. */
AVX2 static void
add_coefficients(const uint8_t *gray, size_t rows, size_t columns, const int32_t *of_rows,
                 const int32_t *of_columns, double *out)
{
    for (int i = 0; i < SIDE * SIDE; i++)
        out[i] = 0.0;
    for (size_t row = 0; row < rows; row++) {
        const uint8_t *line = gray + row * columns;
        __m256i sum = _mm256_setzero_si256();
        for (size_t x = 0; x < columns; x++)
            sum = _mm256_add_epi32(
                sum, _mm256_mullo_epi32(
                         _mm256_set1_epi32(line[x]),
                         _mm256_loadu_si256((const __m256i *)(of_columns + SIDE * x))));
        const __m256d left = _mm256_cvtepi32_pd(_mm256_castsi256_si128(sum));
        const __m256d right = _mm256_cvtepi32_pd(_mm256_extracti128_si256(sum, 1));
        for (int i = 0; i < SIDE; i++) {
            const __m256d weight = _mm256_set1_pd(of_rows[SIDE * row + (size_t)i]);
            double *at = out + SIDE * i;
            _mm256_storeu_pd(
                at, _mm256_add_pd(_mm256_loadu_pd(at), _mm256_mul_pd(left, weight)));
            _mm256_storeu_pd(
                at + 4, _mm256_add_pd(_mm256_loadu_pd(at + 4), _mm256_mul_pd(right, weight)));
        }
    }
}

/* ---- Python ---- */

/* Whether the buffer is so many whole rows, each of so many bytes. */
static int
is_rows(const Py_buffer *pixels, Py_ssize_t bytes)
{
    if (bytes >= 1 && pixels->len >= bytes && pixels->len % bytes == 0)
        return 1;
    PyErr_SetString(PyExc_ValueError, "the pixels do not fit the number of columns");
    return 0;
}

/* Whether the buffer is as long as the others ask for. */
static int
is_long(const Py_buffer *buffer, Py_ssize_t bytes)
{
    if (buffer->len == bytes)
        return 1;
    PyErr_SetString(PyExc_ValueError, "the buffers do not fit each other");
    return 0;
}

static PyObject *
halve(PyObject *module, PyObject *arguments)
{
    Py_buffer pixels, out;
    Py_ssize_t columns;
    PyObject *result = NULL;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*w*n:halve", &pixels, &out, &columns))
        return NULL;
    const Py_ssize_t wide = columns > 0 && columns < PY_SSIZE_T_MAX / RGB ? RGB * columns : 0;
    if (is_rows(&pixels, wide)) {
        const Py_ssize_t rows = pixels.len / wide / 2, half = columns / 2;
        if (is_long(&out, rows * RGB * half)) {
            Py_BEGIN_ALLOW_THREADS
            for (Py_ssize_t row = 0; row < rows; row++) {
                const uint8_t *upper = (const uint8_t *)pixels.buf + 2 * row * wide;
                uint8_t *to = (uint8_t *)out.buf + row * RGB * half;
                halve_rows(upper, upper + wide, to, (size_t)half);
            }
            Py_END_ALLOW_THREADS
            result = Py_NewRef(Py_None);
        }
    }
    PyBuffer_Release(&pixels);
    PyBuffer_Release(&out);
    return result;
}

static PyObject *
luma(PyObject *module, PyObject *arguments)
{
    Py_buffer pixels, gray;
    PyObject *result = NULL;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*w*:luma", &pixels, &gray))
        return NULL;
    if (is_rows(&pixels, RGB) && is_long(&gray, pixels.len / RGB)) {
        Py_BEGIN_ALLOW_THREADS
        make_gray(pixels.buf, gray.buf, (size_t)gray.len);
        Py_END_ALLOW_THREADS
        result = Py_NewRef(Py_None);
    }
    PyBuffer_Release(&pixels);
    PyBuffer_Release(&gray);
    return result;
}

static PyObject *
tones(PyObject *module, PyObject *arguments)
{
    Py_buffer gray;
    Py_ssize_t columns, step;
    PyObject *result = NULL;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*nn:tones", &gray, &columns, &step))
        return NULL;
    if (step < 1)
        PyErr_SetString(PyExc_ValueError, "a step is at least one row");
    else if (is_rows(&gray, columns)) {
        uint32_t counts[LEVELS];
        uint64_t total = 0, sum = 0;
        double mean, squares = 0.0, information = 0.0;
        int dark, bright;
        Py_BEGIN_ALLOW_THREADS
        count_tones(gray.buf, (size_t)(gray.len / columns), (size_t)columns, (size_t)step, counts);
        for (uint64_t level = 0; level < LEVELS; level++) {
            total += counts[level];
            sum += counts[level] * level;
        }
        mean = (double)sum / (double)total;
        for (int level = 0; level < LEVELS; level++) {
            squares += counts[level] * ((level - mean) * (level - mean));
            if (counts[level] > 0)
                information += counts[level] * log2((double)total / counts[level]);
        }
        dark = level_of(counts, 0.05 * (double)total);
        bright = level_of(counts, 0.95 * (double)total);
        Py_END_ALLOW_THREADS
        result = Py_BuildValue(
            "ddddd", mean / WHITE, sqrt(squares / (double)total) / WHITE, (double)dark / WHITE,
            (double)bright / WHITE, information / (double)total);
    }
    PyBuffer_Release(&gray);
    return result;
}

static PyObject *
saturation(PyObject *module, PyObject *arguments)
{
    Py_buffer pixels;
    int dark;
    PyObject *result = NULL;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*i:saturation", &pixels, &dark))
        return NULL;
    if (is_rows(&pixels, RGB)) {
        uint32_t counts[LEVELS], lit;
        Py_BEGIN_ALLOW_THREADS
        lit = count_saturations(pixels.buf, (size_t)(pixels.len / RGB), dark, counts);
        Py_END_ALLOW_THREADS
        result = Py_BuildValue("Ii", (unsigned int)lit, level_of(counts, lit / 20.0));
    }
    PyBuffer_Release(&pixels);
    return result;
}

static PyObject *
squares(PyObject *module, PyObject *arguments)
{
    Py_buffer gray;
    Py_ssize_t columns;
    PyObject *result = NULL;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*n:squares", &gray, &columns))
        return NULL;
    if (is_rows(&gray, columns)) {
        uint64_t sums[NEIGHBOURS] = {0};
        Py_BEGIN_ALLOW_THREADS
        sum_squares(gray.buf, (size_t)(gray.len / columns), (size_t)columns, sums);
        Py_END_ALLOW_THREADS
        result = Py_BuildValue("KKKKKKKK", sums[0], sums[1], sums[2], sums[3], sums[4], sums[5],
                               sums[6], sums[7]);
    }
    PyBuffer_Release(&gray);
    return result;
}

static PyObject *
edges(PyObject *module, PyObject *arguments)
{
    Py_buffer gray;
    Py_ssize_t columns;
    PyObject *result = NULL;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*n:edges", &gray, &columns))
        return NULL;
    if (is_rows(&gray, columns)) {
        const uint8_t *first = gray.buf, *last = first + gray.len - columns;
        const size_t rows = (size_t)(gray.len / columns);
        result = Py_BuildValue("iiii", range_of(first, (size_t)columns, 1),
                               range_of(last, (size_t)columns, 1),
                               range_of(first, rows, (size_t)columns),
                               range_of(first + columns - 1, rows, (size_t)columns));
    }
    PyBuffer_Release(&gray);
    return result;
}

static PyObject *
project(PyObject *module, PyObject *arguments)
{
    Py_buffer gray, of_rows, of_columns;
    PyObject *result = NULL;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*y*y*:project", &gray, &of_rows, &of_columns))
        return NULL;
    const Py_ssize_t weights = SIDE * sizeof(int32_t);
    const Py_ssize_t rows = of_rows.len / weights, columns = of_columns.len / weights;
    if (is_rows(&of_rows, weights) && is_rows(&of_columns, weights)
        && is_long(&gray, rows * columns)) {
        double found[SIDE * SIDE];
        Py_BEGIN_ALLOW_THREADS
        add_coefficients(gray.buf, (size_t)rows, (size_t)columns, of_rows.buf, of_columns.buf,
                         found);
        Py_END_ALLOW_THREADS
        result = PyList_New(SIDE * SIDE);
        for (int i = 0; result != NULL && i < SIDE * SIDE; i++) {
            PyObject *value = PyFloat_FromDouble(found[i]);
            if (value == NULL || PyList_SetItem(result, i, value) < 0)
                Py_CLEAR(result);
        }
    }
    PyBuffer_Release(&gray);
    PyBuffer_Release(&of_rows);
    PyBuffer_Release(&of_columns);
    return result;
}

static PyMethodDef methods[] = {
    {"halve", halve, METH_VARARGS, "RGB at half its size, into a buffer."},
    {"luma", luma, METH_VARARGS, "RGB to gray, into a buffer."},
    {"tones", tones, METH_VARARGS, "Mean, deviation, 5th and 95th percentile, entropy."},
    {"saturation", saturation, METH_VARARGS, "Pixels that are lit, and their 5th percentile."},
    {"squares", squares, METH_VARARGS, "Sums of the squared differences between neighbours."},
    {"edges", edges, METH_VARARGS, "The range of tones along each of the four edges."},
    {"project", project, METH_VARARGS, "The 8 x 8 sums of a picture weighted by two matrices."},
    {NULL, NULL, 0, NULL},
};
#endif

static int
start(PyObject *module)
{
    (void)module;
#if defined(__GNUC__) && defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        return 0;
#endif
    PyErr_SetString(PyExc_ImportError, "it is for x86-64 processors with AVX2");
    return -1;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)start},
    {0, NULL},
};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_pixels",
#if defined(__GNUC__) && defined(__x86_64__)
    .m_methods = methods,
#endif
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__pixels(void)
{
    return PyModuleDef_Init(&definition);
}
