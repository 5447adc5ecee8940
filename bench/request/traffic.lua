-- Ordinary requests for wrk: half of them with a body, some pipelined (not with `single` as third argument), each with the time at which the router had it by a
-- clock that is off by `skew` seconds, a tenth with garbage instead. Arguments: skew (or `mixed`), seed, `single`.
local ffi = require("ffi")
ffi.cdef("typedef struct { long sec; long usec; } clock_t_; int gettimeofday(clock_t_ *now, void *zone);")
local clock = ffi.new("clock_t_")
local garbage = { "?", "t=", "1", string.rep("9", 30), "nan", "-1", "inf", "t=1e400", "\255", "0x10", "1_0", "t=99999999999", "" }
local formats = { "t=%.3f", "%.6f", "%d000", "t=%d000000", "%d000000000" }
local skew, single

function init(args)
  skew = args[1] == "mixed" and "mixed" or tonumber(args[1]) or 0
  math.randomseed(tonumber(args[2]) or 0)
  single = args[3] == "single"
end

local function stamp()
  if math.random() < 0.1 then
    return math.random() < 0.5 and garbage[math.random(#garbage)] or tostring(math.random(0, 2 ^ 52))
  end
  ffi.C.gettimeofday(clock, nil)
  local format = formats[math.random(#formats)]
  local off = skew == "mixed" and math.random(-1, 1) * 3600 or skew
  local now = tonumber(clock.sec) + tonumber(clock.usec) / 1e6 - off
  return string.format(format, format:find("d") and math.floor(now) or now)
end

local function one()
  local headers = { ["X-Request-Start"] = stamp() }
  if math.random() < 0.5 then
    return wrk.format("POST", "/", headers, string.rep("x", math.random(0, 3000)))
  end
  return wrk.format("GET", "/", headers)
end

function request()
  if single or math.random() < 0.8 then
    return one()
  end
  return one() .. one() .. one()
end

function setup(thread)
  traffic = thread
end

counts = ""
local seen = {}

function response(status)
  if status ~= 200 then
    seen[status] = (seen[status] or 0) + 1
    counts = ""
    for code, count in pairs(seen) do
      counts = counts .. " " .. code .. "=" .. count
    end
  end
end

function done()
  print("not 200:" .. traffic:get("counts"))
end
