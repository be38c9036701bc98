-- Green's percentage: from the shared memory named by the first argument; after a restart, when that is empty, from the
-- file named by the second. Empty where neither has it.
local memory, path = ngx.shared[ngx.arg[1]], ngx.arg[2]
local weight = memory:get("weight")
if weight then
    return weight
end
local file, problem = io.open(path)
if not file then
    ngx.log(ngx.ERR, problem)
    return ""
end
weight = file:read("*n")
file:close()
if not weight then
    ngx.log(ngx.ERR, path, " holds no number")
    return ""
end
-- Never over a weight that was set meanwhile.
memory:add("weight", weight)
return memory:get("weight")
