// Marching rays through a grid on a GPU: the kernels of _march.py, one thread a ray.
//
// Compiled with -DREAL=float or double, and -DMODEL=joseph or siddon. Arrays are contiguous; the batch (n) or the
// height (slices, rows) is innermost, so that neighbouring threads read and write neighbouring numbers. Positions are
// double, as on the CPU, and so the weights are the same there; the transposes add with atomics, and their sums agree
// to rounding, not to the bit.

__device__ void joseph(double at, double slope, int *left, double *share)
{
    double low = floor(at);
    *left = (int)low;
    *share = at - low;
}

__device__ void siddon(double at, double slope, int *left, double *share)
{
    double width = fabs(slope), low = floor(at - width / 2 + 0.5);
    double beyond = fmax(at + width / 2 - 0.5 - low, 0.0);
    *left = (int)low;
    *share = width > 0 ? fmin(beyond / width, 1.0) : 0.0;
}

// How ray r meets the image: the steps [*low, *high) at which it is near it, and the strides along and across.
struct Path {
    int low, high, wide;
    long long along, across;
};

__device__ Path path(int r, int H, int W, int n, const unsigned char *steep, const double *start, const double *slope)
{
    int steps = steep[r] ? H : W;
    Path p;
    p.wide = steep[r] ? W : H;
    p.along = steep[r] ? (long long)W * n : n;
    p.across = steep[r] ? n : (long long)W * n;
    p.low = 0;
    p.high = steps;
    if (slope[r] == 0.0) {
        if (start[r] <= -1 || start[r] >= p.wide) p.high = 0;
        return p;
    }
    double a = (-1 - start[r]) / slope[r], b = (p.wide - start[r]) / slope[r];
    p.low = (int)fmax(0.0, fmin((double)steps, fmin(a, b)));
    p.high = (int)fmax(0.0, fmin((double)steps, fmax(a, b) + 1));
    return p;
}

extern "C" __global__ void gather(int rays, int H, int W, int n, const unsigned char *steep, const double *start,
                                  const double *slope, const double *length, const REAL *x, REAL *y)
{
    long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (thread >= (long long)rays * n) return;
    int r = thread / n, b = thread % n, left;
    double share;
    REAL sum = 0;
    Path p = path(r, H, W, n, steep, start, slope);
    for (int i = p.low; i < p.high; i++) {
        MODEL(start[r] + slope[r] * i, slope[r], &left, &share);
        const REAL *pixel = x + i * p.along + left * p.across + b;
        if (0 <= left && left < p.wide) sum += (REAL)((1 - share) * length[r]) * pixel[0];
        if (0 <= left + 1 && left + 1 < p.wide) sum += (REAL)(share * length[r]) * pixel[p.across];
    }
    y[thread] = sum;
}

extern "C" __global__ void scatter(int rays, int H, int W, int n, const unsigned char *steep, const double *start,
                                   const double *slope, const double *length, REAL *x, const REAL *y)
{
    long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (thread >= (long long)rays * n) return;
    int r = thread / n, b = thread % n, left;
    double share;
    Path p = path(r, H, W, n, steep, start, slope);
    for (int i = p.low; i < p.high; i++) {
        MODEL(start[r] + slope[r] * i, slope[r], &left, &share);
        REAL *pixel = x + i * p.along + left * p.across + b;
        if (0 <= left && left < p.wide) atomicAdd(pixel, (REAL)((1 - share) * length[r]) * y[thread]);
        if (0 <= left + 1 && left + 1 < p.wide)
            atomicAdd(pixel + p.across, (REAL)(share * length[r]) * y[thread]);
    }
}

// A cone: at tau of the way to the detector, row v is at slice base + tau (bottom + rise v).

extern "C" __global__ void cone_gather(int rays, int H, int W, int slices, int rows, const unsigned char *steep,
                                       const double *start, const double *slope, const double *length,
                                       const double *begin, const double *advance, const double *run,
                                       const double *base, double bottom, double rise, const REAL *x, REAL *y)
{
    long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (thread >= (long long)rays * rows) return;
    int r = thread / rows, v = thread % rows;
    double climb = bottom + rise * v;
    REAL sum = 0;
    Path p = path(r, H, W, slices, steep, start, slope);
    for (int i = p.low; i < p.high; i++) {
        double at = start[r] + slope[r] * i, z = base[r] + (begin[r] + advance[r] * i) * climb;
        if (z <= -1 || z >= slices) continue;
        int j = (int)floor(at), k = (int)floor(z);
        REAL share = at - j, up = z - k;
        bool in[2] = {0 <= j && j < p.wide, 0 <= j + 1 && j + 1 < p.wide};
        for (int d = 0; d < 2; d++) {
            if (!in[d]) continue;
            const REAL *column = x + i * p.along + (j + d) * p.across;
            REAL low = k >= 0 ? column[k] : 0, high = k + 1 < slices ? column[k + 1] : 0;
            sum += (d ? share : 1 - share) * (low + up * (high - low));
        }
    }
    y[thread] = sum * (REAL)(length[r] * sqrt(1 + climb * climb / (run[r] * run[r])));
}

extern "C" __global__ void cone_scatter(int rays, int H, int W, int slices, int rows, const unsigned char *steep,
                                        const double *start, const double *slope, const double *length,
                                        const double *begin, const double *advance, const double *run,
                                        const double *base, double bottom, double rise, REAL *x, const REAL *y)
{
    long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (thread >= (long long)rays * rows) return;
    int r = thread / rows, v = thread % rows;
    double climb = bottom + rise * v;
    REAL ray = y[thread] * (REAL)(length[r] * sqrt(1 + climb * climb / (run[r] * run[r])));
    Path p = path(r, H, W, slices, steep, start, slope);
    for (int i = p.low; i < p.high; i++) {
        double at = start[r] + slope[r] * i, z = base[r] + (begin[r] + advance[r] * i) * climb;
        if (z <= -1 || z >= slices) continue;
        int j = (int)floor(at), k = (int)floor(z);
        REAL share = at - j, up = z - k;
        bool in[2] = {0 <= j && j < p.wide, 0 <= j + 1 && j + 1 < p.wide};
        for (int d = 0; d < 2; d++) {
            if (!in[d]) continue;
            REAL *column = x + i * p.along + (j + d) * p.across, part = (d ? share : 1 - share) * ray;
            if (k >= 0) atomicAdd(column + k, (1 - up) * part);
            if (k + 1 < slices) atomicAdd(column + k + 1, up * part);
        }
    }
}
